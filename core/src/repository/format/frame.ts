import { createCipheriv, createDecipheriv, createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { LIMITS } from './blob.ts';
import { damaged } from './damage.ts';
import type { RepositoryKeys } from './key-set.ts';
import type { Packed } from './payload.ts';

export const FRAME_ID_BYTES = 16;
const PREFIX_BYTES = 1 + FRAME_ID_BYTES;
const TAG_BYTES = 16;
/** What a frame is longer than its plaintext. */
export const FRAME_OVERHEAD = PREFIX_BYTES + TAG_BYTES;
/** Of a sealed frame: an incompressible payload is stored as it is, behind the codec byte. */
export const MAX_FRAME_BYTES = FRAME_OVERHEAD + 1 + LIMITS.frame;

const KEY_BYTES = 32;
const NONCE_BYTES = 12;

/**
 * Seals a packed payload; the frame is the returned pieces, end to end. Each frame has a key and nonce of its own, from its random id, and
 * names no place: it can be moved between packs.
 */
export function sealFrame(keys: RepositoryKeys, frameId: Uint8Array, packed: Packed): Uint8Array[] {
  const { key, nonce } = frameKey(keys.dataKey(keys.epoch, 'a new frame'), frameId);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(context(keys));
  const ciphertext = packed.map((piece) => cipher.update(piece));
  return [Uint8Array.of(keys.epoch), frameId, ...ciphertext, cipher.final(), cipher.getAuthTag()];
}

/** The packed payload of a frame. Throws REPOSITORY_CORRUPT, naming the pack `key`. */
export function openFrame(keys: RepositoryKeys, frame: Uint8Array, key: string): Buffer {
  if (frame.length <= FRAME_OVERHEAD || frame.length > MAX_FRAME_BYTES) throw damaged(key, 'a frame in it has an impossible size');
  const { key: frameSecret, nonce } = frameKey(keys.dataKey(frame[0] as number, key), frame.subarray(1, PREFIX_BYTES));
  const decipher = createDecipheriv('aes-256-gcm', frameSecret, nonce);
  decipher.setAAD(context(keys)).setAuthTag(frame.subarray(frame.length - TAG_BYTES));
  const packed = decipher.update(frame.subarray(PREFIX_BYTES, frame.length - TAG_BYTES));
  try {
    decipher.final();
  } catch (e) {
    throw damaged(key, 'a frame in it is not what was sealed', e);
  }
  return packed;
}

function frameKey(dataKey: KeyObject, frameId: Uint8Array): { key: KeyObject; nonce: Uint8Array } {
  const derived = createHmac('sha512', dataKey).update(frameId).digest();
  return { key: createSecretKey(derived.subarray(0, KEY_BYTES)), nonce: derived.subarray(KEY_BYTES, KEY_BYTES + NONCE_BYTES) };
}

function context(keys: RepositoryKeys): Buffer {
  return Buffer.concat([Buffer.from('dmaas/v1/frame'), keys.repositoryId]);
}
