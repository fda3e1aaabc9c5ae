import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { BLOB_ID_BYTES, type BlobId, type BlobKind } from './blob.ts';
import { DmaasError } from '../../errors.ts';
import { notGiven, ofUnknownEpoch } from './damage.ts';
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

/** Reads again which keys there are, for an epoch that was not among them: undefined when nobody has begun it; a key set without it when it was not given to the key in use. */
export type ReloadKeys = (epoch: number) => Promise<KeySet | undefined>;

/** The keys in use while a repository is open. */
export class RepositoryKeys {
  readonly repositoryId: Uint8Array;
  readonly chunker: Uint8Array;
  readonly #ids: Readonly<Record<BlobKind, KeyObject>>;
  readonly #reload: ReloadKeys;
  readonly #epochs = new Map<number, EpochKeys>();
  readonly #notGiven = new Set<number>();
  #keySet: KeySet;
  #epoch = 0;
  #learning: Promise<unknown> = Promise.resolve();

  /** Without `reload` no epoch is learnt of later. */
  constructor(keySet: KeySet, repositoryId: Uint8Array, reload: ReloadKeys = () => Promise.resolve(undefined)) {
    this.repositoryId = repositoryId;
    this.#ids = { data: derive(keySet.dedup, 'dmaas/v1/id/data'), node: derive(keySet.dedup, 'dmaas/v1/id/node') };
    this.chunker = hkdf(keySet.dedup, 'dmaas/v1/chunker');
    this.#reload = reload;
    this.#keySet = keySet;
    this.#use(keySet);
  }

  /** Never leaves the process. */
  get material(): KeyMaterial {
    return { keySet: this.#keySet, repositoryId: this.repositoryId };
  }

  /** What is written now is sealed with this epoch's keys. It goes up. */
  get epoch(): number {
    return this.#epoch;
  }

  /**
   * Opens what was read. When that is sealed with an epoch that somebody has begun since the keys were read, reads them again and opens it once more; throws REPOSITORY_KEY when that epoch
   * is not for the key in use. An epoch begins before anything is sealed with it: one that is still not there is damage, as `open` says.
   */
  async opening<T>(open: () => T | Promise<T>): Promise<T> {
    try {
      return await open();
    } catch (e) {
      if (!DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
      const { key, epoch } = e.details;
      if (typeof epoch !== 'number' || !(await this.#learn(epoch))) throw e;
      if (this.#notGiven.has(epoch)) throw notGiven(String(key), epoch);
      return open();
    }
  }

  /** Whether the epoch exists. */
  #learn(epoch: number): Promise<boolean> {
    const learnt = this.#learning
      .catch(() => undefined)
      .then(async () => {
        if (this.#epochs.has(epoch) || this.#notGiven.has(epoch)) return true;
        const keySet = await this.#reload(epoch);
        if (keySet === undefined) return false;
        this.#use(keySet);
        if (!this.#epochs.has(epoch)) this.#notGiven.add(epoch);
        return true;
      });
    this.#learning = learnt;
    return learnt;
  }

  #use(keySet: KeySet): void {
    for (const { epoch, root } of keySet.epochs) {
      if (!this.#epochs.has(epoch)) this.#epochs.set(epoch, { data: derive(root, 'dmaas/v1/data'), meta: derive(root, 'dmaas/v1/meta') });
    }
    if (keySet.epochs.length > this.#keySet.epochs.length) this.#keySet = keySet;
    this.#epoch = Math.max(...this.#epochs.keys());
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
    if (keys === undefined) throw ofUnknownEpoch(objectKey, epoch);
    return keys;
  }
}

function derive(secret: Uint8Array, info: string): KeyObject {
  return createSecretKey(hkdf(secret, info));
}
