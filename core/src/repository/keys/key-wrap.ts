import { createCipheriv, createDecipheriv, timingSafeEqual } from 'node:crypto';
import * as z from 'zod';
import { damaged } from '../format/damage.ts';
import { hkdf, hmac, KEY_BYTES, type Random } from '../format/derive.ts';
import type { KeySet } from '../format/key-set.ts';
import { parseStored } from '../format/stored-json.ts';
import { unwrapKeyOf, wrapKeyFor, type Recipient, type Unlock } from './recipients.ts';

const base64 = (bytes: number) =>
  z
    .base64()
    .transform((text) => Buffer.from(text, 'base64'))
    .refine((key) => key.length === bytes);

const keySetSchema = z.looseObject({
  dedup: base64(KEY_BYTES),
  epochs: z
    .array(z.looseObject({ epoch: z.number().int().min(1).max(255), root: base64(KEY_BYTES) }))
    .min(1)
    .max(255),
});

/** A key set, sealed for one recipient, who keeps its id in later epochs. `kind` says how the recipient's key is found: see `recipients.ts`. */
export const wrapSchema = z.looseObject({
  id: z.string().regex(/^[0-9a-f]{32}$/),
  kind: z.string(),
  label: z.string().exactOptional(),
  mac: z.string().exactOptional(),
});
export type Wrap = z.infer<typeof wrapSchema>;

const sealedWrapSchema = z.looseObject({ commitment: base64(16), sealed: z.base64() });

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const COMMITMENT_BYTES = 16;
const RECIPIENT_MAC_BYTES = 16;

export function wrapKeySet(
  keySet: KeySet,
  recipient: Recipient,
  repositoryId: Uint8Array,
  random: Random,
  of: { readonly id?: string; readonly label?: string } = {},
): Wrap {
  const { kek, head } = wrapKeyFor(recipient, random);
  const nonce = random(NONCE_BYTES);
  const plain = {
    dedup: toBase64(keySet.dedup),
    epochs: keySet.epochs.map(({ epoch, root }) => ({ epoch, root: toBase64(root) })),
  };
  const cipher = createCipheriv('aes-256-gcm', kek, nonce).setAAD(wrapContext(repositoryId));
  const sealed = Buffer.concat([nonce, cipher.update(JSON.stringify(plain)), cipher.final(), cipher.getAuthTag()]);
  const named = {
    id: of.id ?? Buffer.from(random(16)).toString('hex'),
    ...head,
    ...(of.label !== undefined && of.label !== '' && { label: of.label }),
  };
  const mac = recipientMac(named, newestRoot(keySet), repositoryId);
  return { ...named, commitment: toBase64(commitmentOf(kek)), sealed: toBase64(sealed), mac: toBase64(mac) };
}

/** Whether somebody who held the keys of that epoch has made this recipient one: whoever can write to the bucket can put any public key there. */
export function isVouchedFor(wrap: Wrap, keySet: KeySet, epoch: number, repositoryId: Uint8Array): boolean {
  const root = keySet.epochs.find((known) => known.epoch === epoch)?.root;
  if (root === undefined || wrap.mac === undefined) return false;
  const mac = recipientMac(wrap, root, repositoryId);
  const claimed = Buffer.from(wrap.mac, 'base64');
  return claimed.length === mac.length && timingSafeEqual(claimed, mac);
}

function recipientMac(
  wrap: Pick<Wrap, 'id' | 'kind' | 'label'> & Readonly<Record<string, unknown>>,
  root: Uint8Array,
  repositoryId: Uint8Array,
): Buffer {
  const recipient = typeof wrap['recipient'] === 'string' ? wrap['recipient'] : '';
  const said = JSON.stringify([Buffer.from(repositoryId).toString('hex'), wrap.id, wrap.kind, recipient, wrap.label ?? '']);
  return hmac(hkdf(root, 'dmaas/v1/recipient'), said).subarray(0, RECIPIENT_MAC_BYTES);
}

function newestRoot({ epochs }: KeySet): Uint8Array {
  return epochs.reduce((newest, other) => (other.epoch > newest.epoch ? other : newest)).root;
}

/** The key set in `wrap`; undefined when the wrap is for another key or of another kind. Throws REPOSITORY_CORRUPT, naming `objectKey`, when it is for this key but damaged. */
export function unwrapKeySet(wrap: Wrap, unlock: Unlock, repositoryId: Uint8Array, objectKey: string): KeySet | undefined {
  const kek = unwrapKeyOf(wrap, unlock, objectKey);
  if (kek === undefined) return undefined;
  const parsed = sealedWrapSchema.safeParse(wrap);
  if (!parsed.success) throw damaged(objectKey, 'a wrapped key in it is incomplete', parsed.error);
  const { commitment, sealed } = parsed.data;
  if (!timingSafeEqual(commitmentOf(kek), commitment)) return undefined;
  const bytes = Buffer.from(sealed, 'base64');
  if (bytes.length < NONCE_BYTES + TAG_BYTES) throw damaged(objectKey, 'a wrapped key in it is cut short');
  const decipher = createDecipheriv('aes-256-gcm', kek, bytes.subarray(0, NONCE_BYTES));
  decipher.setAAD(wrapContext(repositoryId)).setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
  const plain = decipher.update(bytes.subarray(NONCE_BYTES, bytes.length - TAG_BYTES));
  try {
    decipher.final();
  } catch (e) {
    throw damaged(objectKey, 'a wrapped key in it is not what was sealed', e);
  }
  return parseStored(plain, keySetSchema, objectKey);
}

function wrapContext(repositoryId: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from('dmaas/v1/wrap'), repositoryId]);
}

function commitmentOf(kek: Uint8Array): Buffer {
  return hmac(kek, 'dmaas/v1/commitment').subarray(0, COMMITMENT_BYTES);
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
