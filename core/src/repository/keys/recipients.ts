import { createPrivateKey, createPublicKey, diffieHellman, generateKeyPairSync, scryptSync, type KeyObject } from 'node:crypto';
import * as z from 'zod';
import { DmaasError } from '../../errors.ts';
import { damaged } from '../format/damage.ts';
import { hkdf, KEY_BYTES, type Random } from '../format/derive.ts';
import { formatSecret, parseSecret } from './keys.ts';

/** What opens a repository: a key, a passphrase, or the private half of a recovery key. */
export type Unlock = Uint8Array | { readonly passphrase: string } | { readonly recoveryKey: Uint8Array };

/** For whom a key set is wrapped. Of a recovery key its public half is enough. */
export type Recipient = { readonly key: Uint8Array } | { readonly passphrase: string } | { readonly publicKey: Uint8Array };

/** How the key of a wrap is found again: members of its JSON. */
export interface WrapHead {
  readonly kind: string;
  readonly salt: string;
  readonly [member: string]: unknown;
}

const WRAP = 'dmaas/v1/wrap';
const X25519_WRAP = 'dmaas/v1/wrap/x25519';
const SALT_BYTES = 16;
/** 128 MiB. */
const SCRYPT = { logN: 17, r: 8, p: 1 } as const;
const MAX_SCRYPT_BYTES = 1 << 30;
/** What stands before a raw X25519 key in DER: PKCS #8 and SubjectPublicKeyInfo (RFC 8410). */
const PRIVATE_DER = Buffer.from('302e020100300506032b656e04220420', 'hex');
const PUBLIC_DER = Buffer.from('302a300506032b656e032100', 'hex');
const RECOVERY_PREFIX = 'dmaas-recovery-1-';
const RECIPIENT_PREFIX = 'dmaas-recipient-1-';

const base64 = z.base64().transform((text) => Buffer.from(text, 'base64'));
const passphraseSchema = z.looseObject({
  salt: base64,
  kdf: z.literal('scrypt'),
  logN: z.number().int().min(10).max(20),
  r: z.number().int().min(1).max(16),
  p: z.number().int().min(1).max(16),
});
const x25519Schema = z.looseObject({ salt: base64, recipient: base64, ephemeral: base64 });
const keySchema = z.looseObject({ salt: base64 });

/** A new key to wrap with, and what whoever may open the wrap needs besides a secret. */
export function wrapKeyFor(recipient: Recipient, random: Random): { readonly kek: Buffer; readonly head: WrapHead } {
  const salt = random(SALT_BYTES);
  const common = { salt: toBase64(salt) };
  if ('key' in recipient) return { kek: hkdf(recipient.key, WRAP, salt), head: { kind: 'key', ...common } };
  if ('passphrase' in recipient) {
    const kek = hkdf(stretch(recipient.passphrase, salt, SCRYPT), WRAP, salt);
    return { kek, head: { kind: 'passphrase', kdf: 'scrypt', ...SCRYPT, ...common } };
  }
  const ephemeral = privateKeyOf(random(KEY_BYTES));
  const ephemeralPublic = publicBytes(createPublicKey(ephemeral));
  const shared = agree(ephemeral, recipient.publicKey);
  const kek = hkdf(shared, X25519_WRAP, Buffer.concat([salt, ephemeralPublic, recipient.publicKey]));
  return { kek, head: { kind: 'x25519', recipient: toBase64(recipient.publicKey), ephemeral: toBase64(ephemeralPublic), ...common } };
}

/** The key of a wrap; undefined when it is of another kind than `unlock`, or of one that this version does not know. */
export function unwrapKeyOf(wrap: { readonly kind: string }, unlock: Unlock, objectKey: string): Buffer | undefined {
  if (unlock instanceof Uint8Array) {
    if (wrap.kind !== 'key') return undefined;
    return hkdf(unlock, WRAP, parse(wrap, keySchema, objectKey).salt);
  }
  if ('passphrase' in unlock) {
    if (wrap.kind !== 'passphrase') return undefined;
    const { salt, ...cost } = parse(wrap, passphraseSchema, objectKey);
    if (128 * cost.r * 2 ** cost.logN * cost.p > MAX_SCRYPT_BYTES)
      throw damaged(objectKey, 'a passphrase in it takes more memory than may be');
    return hkdf(stretch(unlock.passphrase, salt, cost), WRAP, salt);
  }
  if (wrap.kind !== 'x25519') return undefined;
  const { salt, recipient, ephemeral } = parse(wrap, x25519Schema, objectKey);
  if (recipient.length !== KEY_BYTES || ephemeral.length !== KEY_BYTES) throw damaged(objectKey, 'a wrapped key in it is incomplete');
  return hkdf(agree(privateKeyOf(unlock.recoveryKey), ephemeral), X25519_WRAP, Buffer.concat([salt, ephemeral, recipient]));
}

/** The public key in a wrap for a recovery key. */
export function publicKeyOf(wrap: { readonly kind: string }, objectKey: string): Uint8Array | undefined {
  return wrap.kind === 'x25519' ? parse(wrap, x25519Schema, objectKey).recipient : undefined;
}

/** A new recovery key. The private half is to be kept where no backup runs. */
export function newRecoveryKey(): { readonly privateKey: Uint8Array; readonly publicKey: Uint8Array } {
  const { privateKey, publicKey } = generateKeyPairSync('x25519');
  const der = privateKey.export({ type: 'pkcs8', format: 'der' });
  return { privateKey: der.subarray(PRIVATE_DER.length), publicKey: publicBytes(publicKey) };
}

export function formatRecoveryKey(privateKey: Uint8Array): string {
  return formatSecret(RECOVERY_PREFIX, privateKey);
}

export function formatRecipient(publicKey: Uint8Array): string {
  return formatSecret(RECIPIENT_PREFIX, publicKey);
}

export function parseRecipient(text: string): Uint8Array {
  return parseSecret(RECIPIENT_PREFIX, text);
}

/** The content of a key file: a key, or a recovery key. */
export function parseUnlock(text: string): Unlock {
  if (text.trim().toLowerCase().startsWith(RECOVERY_PREFIX)) return { recoveryKey: parseSecret(RECOVERY_PREFIX, text) };
  return parseSecret('dmaas-key-1-', text);
}

/** A new one. Throws USAGE when it is too short. */
export function checkPassphrase(passphrase: string): string {
  if (passphrase.length >= 8) return passphrase;
  throw new DmaasError('USAGE', 'the passphrase has fewer than 8 characters', { hint: 'use several words' });
}

function stretch(
  passphrase: string,
  salt: Uint8Array,
  { logN, r, p }: { readonly logN: number; readonly r: number; readonly p: number },
): Buffer {
  return scryptSync(passphrase.normalize('NFC'), salt, KEY_BYTES, { N: 2 ** logN, r, p, maxmem: 2 * MAX_SCRYPT_BYTES });
}

function agree(privateKey: KeyObject, publicKey: Uint8Array): Buffer {
  const other = createPublicKey({ key: Buffer.concat([PUBLIC_DER, publicKey]), format: 'der', type: 'spki' });
  try {
    return diffieHellman({ privateKey, publicKey: other });
  } catch (cause) {
    // OpenSSL refuses points whose shared secret would be all zeros.
    throw new DmaasError('REPOSITORY_KEY', 'a public key is none that could have been made', { cause });
  }
}

function privateKeyOf(bytes: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PRIVATE_DER, bytes]), format: 'der', type: 'pkcs8' });
}

function publicBytes(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' }).subarray(PUBLIC_DER.length);
}

function parse<T>(wrap: unknown, schema: z.ZodType<T>, objectKey: string): T {
  const parsed = schema.safeParse(wrap);
  if (!parsed.success) throw damaged(objectKey, 'a wrapped key in it is incomplete', parsed.error);
  return parsed.data;
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
