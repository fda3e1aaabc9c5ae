import { createHmac, hkdfSync } from 'node:crypto';

/** So many random bytes. */
export type Random = (n: number) => Uint8Array;

export const KEY_BYTES = 32;

/** HKDF-SHA-256 (RFC 5869) to 32 bytes. */
export function hkdf(secret: Uint8Array, info: string | Uint8Array, salt: Uint8Array = new Uint8Array(0)): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, salt, info, KEY_BYTES));
}

export function hmac(key: Uint8Array, data: string | Uint8Array): Buffer {
  return createHmac('sha256', key).update(data).digest();
}
