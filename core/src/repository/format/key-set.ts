import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { BLOB_ID_BYTES, type BlobId, type BlobKind } from './blob.ts';
import { damaged } from './damage.ts';
import { hkdf, KEY_BYTES, type Random } from './derive.ts';
import { SectionCipher } from './sealed.ts';

/** The random keys of a repository, from which all others are derived. The last epoch is the one that is written with. */
export interface KeySet {
  readonly dedup: Uint8Array;
  readonly epochs: readonly { readonly epoch: number; readonly root: Uint8Array }[];
}

export function newKeySet(random: Random): KeySet {
  return { dedup: random(KEY_BYTES), epochs: [{ epoch: 1, root: random(KEY_BYTES) }] };
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
