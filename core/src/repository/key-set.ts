import { createCipheriv, createDecipheriv, createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto';
import * as z from 'zod';
import { BLOB_ID_BYTES, type BlobId, type BlobKind } from './blob.ts';
import { damaged } from './damage.ts';
import { hkdf, hmac, KEY_BYTES, type Random } from './keys.ts';
import { unwrapKeyOf, wrapKeyFor, type Recipient, type Unlock } from './recipients.ts';
import { SectionCipher } from './sealed.ts';
import { parseStored } from './stored-json.ts';

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

/** The random keys of a repository, from which all others are derived. The last epoch is the one that is written with. */
export interface KeySet {
  readonly dedup: Uint8Array;
  readonly epochs: readonly { readonly epoch: number; readonly root: Uint8Array }[];
}

export function newKeySet(random: Random): KeySet {
  return { dedup: random(KEY_BYTES), epochs: [{ epoch: 1, root: random(KEY_BYTES) }] };
}

/** A key set, sealed for one recipient, who keeps its id in later epochs. `kind` says how the recipient's key is found: see `recipients.ts`. */
export const wrapSchema = z.looseObject({ id: z.string().regex(/^[0-9a-f]{32}$/), kind: z.string(), label: z.string().exactOptional() });
export type Wrap = z.infer<typeof wrapSchema>;

const sealedWrapSchema = z.looseObject({ commitment: base64(16), sealed: z.base64() });

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const COMMITMENT_BYTES = 16;

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
  return {
    id: of.id ?? Buffer.from(random(16)).toString('hex'),
    ...head,
    ...(of.label !== undefined && of.label !== '' && { label: of.label }),
    commitment: toBase64(commitmentOf(kek)),
    sealed: toBase64(sealed),
  };
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

/** Key objects: Node takes them in a fraction of the time that it needs for bytes. */
interface EpochKeys {
  readonly data: KeyObject;
  readonly meta: KeyObject;
}

/** What another thread makes its `RepositoryKeys` of. */
export interface KeyMaterial {
  readonly keySet: KeySet;
  readonly repositoryId: Uint8Array;
}

/** The keys in use while a repository is open. */
export class RepositoryKeys {
  /** Never leaves the process. */
  readonly material: KeyMaterial;
  readonly repositoryId: Uint8Array;
  /** What is written now is sealed with this epoch's keys. */
  readonly epoch: number;
  readonly chunker: Uint8Array;
  readonly #epochs = new Map<number, EpochKeys>();
  readonly #ids: Readonly<Record<BlobKind, KeyObject>>;

  constructor(keySet: KeySet, repositoryId: Uint8Array) {
    this.material = { keySet, repositoryId };
    this.repositoryId = repositoryId;
    this.#ids = { data: derive(keySet.dedup, 'dmaas/v1/id/data'), node: derive(keySet.dedup, 'dmaas/v1/id/node') };
    this.chunker = hkdf(keySet.dedup, 'dmaas/v1/chunker');
    for (const { epoch, root } of keySet.epochs) {
      this.#epochs.set(epoch, { data: derive(root, 'dmaas/v1/data'), meta: derive(root, 'dmaas/v1/meta') });
    }
    this.epoch = Math.max(...this.#epochs.keys());
  }

  blobId(kind: BlobKind, plaintext: Uint8Array): BlobId {
    return createHmac('sha256', this.#ids[kind])
      .update(plaintext)
      .digest('hex')
      .slice(0, BLOB_ID_BYTES * 2) as BlobId;
  }

  /** The key from which those of frames are derived. `objectKey` is for the message when there is no such epoch. */
  dataKey(epoch: number, objectKey: string): KeyObject {
    return this.#of(epoch, objectKey).data;
  }

  /** Seals or opens the sections of an object; `header` says with which epoch. */
  sections(header: Uint8Array, objectKey: string): SectionCipher {
    return new SectionCipher(this.#of(header[7] ?? 0, objectKey).meta, header, this.repositoryId, objectKey);
  }

  #of(epoch: number, objectKey: string): EpochKeys {
    const keys = this.#epochs.get(epoch);
    if (keys === undefined)
      throw damaged(objectKey, `it is sealed with key epoch ${epoch}, which this repository did not have when it was opened`);
    return keys;
  }
}

function derive(secret: Uint8Array, info: string): KeyObject {
  return createSecretKey(hkdf(secret, info));
}
