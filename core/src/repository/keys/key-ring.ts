import { DmaasError } from '../../errors.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import { KEY_BYTES, type Random } from '../format/derive.ts';
import type { KeySet } from '../format/key-set.ts';
import { putOnce } from '../protocol/put-once.ts';
import { CONFIG_KEY, epochCopyKey, epochKey, jsonBytes, listWraps, loadConfig, WRAPS, type RepositoryConfig } from './config.ts';
import { isVouchedFor, unwrapKeySet, wrapKeySet, type Wrap } from './key-wrap.ts';
import { formatRecipient, publicKeyOf, type Recipient, type Unlock } from './recipients.ts';

/** Somebody who may open the repository. */
export interface KeyInfo {
  readonly id: string;
  readonly kind: string;
  /** For people. It stands in the bucket in the clear. */
  readonly label: string;
  /** Of a recovery key. */
  readonly publicKey?: string;
  /** Whether it opens what is written now, too. */
  readonly isCurrent: boolean;
  /** Whether somebody who had the keys has put it there. New keys are given to no other public key, unless it is named. */
  readonly isVouchedFor: boolean;
}

export interface Rotation {
  readonly epoch: number;
  readonly keys: readonly KeyInfo[];
}

interface FoundWrap {
  readonly wrap: Wrap;
  readonly objectKey: string;
  readonly epoch: number;
}

/** The recipients of a repository's keys: who opens it, and with what. */
export class KeyRing {
  readonly #store: ObjectStore;
  readonly #config: RepositoryConfig;
  readonly #unlock: Unlock;
  readonly #random: Random;

  private constructor(store: ObjectStore, config: RepositoryConfig, unlock: Unlock, random: Random) {
    this.#store = store;
    this.#config = config;
    this.#unlock = unlock;
    this.#random = random;
  }

  /** Throws REPOSITORY_NOT_FOUND, REPOSITORY_KEY, REPOSITORY_VERSION, REPOSITORY_CORRUPT. */
  static async open(store: ObjectStore, unlock: Unlock, random: Random, opts: CallOptions = {}): Promise<KeyRing> {
    const config = await loadConfig(store, unlock, opts);
    if (config === undefined) throw new DmaasError('REPOSITORY_NOT_FOUND', `there is no repository at ${store.location}`);
    return new KeyRing(store, config, unlock, random);
  }

  /** The epoch that is written with. */
  get epoch(): number {
    return this.#config.keys.epoch;
  }

  async list(opts: CallOptions = {}): Promise<readonly KeyInfo[]> {
    const keys = new Map<string, KeyInfo>();
    for (const { wrap, objectKey, epoch } of await this.#wraps(opts)) {
      const before = keys.get(wrap.id);
      keys.set(wrap.id, {
        ...currentKey(wrap, objectKey),
        isCurrent: epoch === this.epoch || before?.isCurrent === true,
        isVouchedFor: before?.isVouchedFor !== false && this.#isVouchedFor({ wrap, epoch }),
      });
    }
    return [...keys.values()];
  }

  /** Lets somebody else open everything, from now on and what there is. */
  async add(recipient: Recipient, label: string, opts: CallOptions = {}): Promise<KeyInfo> {
    const wrap = this.#wrap(this.#keySet, recipient, { label });
    const body = jsonBytes({ repositoryId: this.#config.id, epoch: this.epoch, wrap });
    await this.#store.put(WRAPS + wrap.id, body, { ...opts, ifAbsent: true });
    return currentKey(wrap, WRAPS + wrap.id);
  }

  /**
   * Takes a key away. It opens what was written so far for whoever has kept a copy of the wrapped key, and if it is one that the repository was made or rotated with:
   * `rotate` without it is what shuts it out of all that is written later. One that is damaged goes, too. Throws USAGE when it is the one that this was opened with.
   */
  async remove(id: string, opts: CallOptions = {}): Promise<void> {
    const damagedKeys = new Set<string>();
    const wraps = (await this.#wraps(opts, (key) => damagedKeys.add(key))).filter(({ wrap }) => wrap.id === id);
    if (damagedKeys.has(WRAPS + id) && wraps.length === 0) return this.#store.delete(WRAPS + id, opts);
    if (wraps.length === 0) throw new DmaasError('USAGE', `no key has the id ${id}`, { hint: 'kubectl dmaas key list' });
    if (wraps.some(({ wrap, objectKey }) => this.#opens(wrap, objectKey))) {
      throw new DmaasError('USAGE', `the key ${id} is the one in use`, { hint: 'open the repository with another key to remove this one' });
    }
    if (wraps.some(({ objectKey }) => objectKey !== WRAPS + id)) {
      throw new DmaasError('USAGE', `the key ${id} stands in objects that are never changed`, {
        hint: `kubectl dmaas key rotate --without ${id}`,
      });
    }
    await this.#store.delete(WRAPS + id, opts);
  }

  /**
   * Begins a new epoch: what is written from now on opens only for this ring's key, `others` (whose secrets are needed), and all recovery keys that are current and were put there by
   * somebody who had the keys, except those in `without`. Throws USAGE, naming them, when somebody would be left out who is not in `without`, or when no current key has an id in it: it may be
   * the misspelt one of somebody who is to lose access. @returns who opens the new epoch.
   */
  async rotate(others: readonly Recipient[], without: ReadonlySet<string>, opts: CallOptions = {}): Promise<Rotation> {
    const epoch = this.epoch + 1;
    if (epoch > 255) throw new DmaasError('USAGE', 'there can be no more than 255 key epochs');
    const keySet: KeySet = { ...this.#keySet, epochs: [...this.#keySet.epochs, { epoch, root: this.#random(KEY_BYTES) }] };
    const current = (await this.#wraps(opts)).filter((found) => found.epoch === this.epoch);
    const unknown = [...without].filter((id) => !current.some(({ wrap }) => wrap.id === id));
    if (unknown.length > 0) {
      throw new DmaasError('USAGE', `no current key has the id ${unknown.join(', ')}`, { hint: 'kubectl dmaas key list' });
    }
    const wraps: Wrap[] = [];
    const leftOut: string[] = [];
    const done = new Set<string>();
    for (const found of current) {
      const { wrap } = found;
      if (done.has(wrap.id) || without.has(wrap.id)) continue;
      const recipient = this.#recipientOf(found, others);
      done.add(wrap.id);
      if (recipient === undefined) leftOut.push(wrap.label === undefined ? wrap.id : `${wrap.id} (${wrap.label})`);
      else wraps.push(this.#wrap(keySet, recipient, { id: wrap.id, ...(wrap.label !== undefined && { label: wrap.label }) }));
    }
    if (leftOut.length > 0) {
      throw new DmaasError('USAGE', `the new keys could not be given to ${leftOut.join(', ')}`, {
        hint: 'give their key files, passphrases or, of a recovery key that nobody with the keys has put there, the public half; or name them with --without',
      });
    }
    if (wraps.length === 0) throw new DmaasError('USAGE', 'nobody would be left who can open the repository');
    const body = jsonBytes({ repositoryId: this.#config.id, epoch, wraps });
    try {
      await this.#store.put(epochKey(epoch), body, { ...opts, ifAbsent: true });
    } catch (e) {
      if (!DmaasError.is(e, 'STORE_EXISTS')) throw e;
      throw new DmaasError('STORE_EXISTS', `somebody else has begun key epoch ${epoch} at the same time`, {
        hint: 'see whom it was made for: kubectl dmaas key list',
      });
    }
    try {
      await putOnce(this.#store, epochCopyKey(epoch), body, opts);
    } catch (e) {
      if (!DmaasError.is(e)) throw e;
      throw new DmaasError(e.code, `key epoch ${epoch} has begun, but its keys stand in one place only: ${e.message}`, {
        cause: e,
        hint: 'kubectl dmaas repository repair',
      });
    }
    return { epoch, keys: wraps.map((wrap) => currentKey(wrap, epochKey(epoch))) };
  }

  get #keySet(): KeySet {
    return this.#config.keys.material.keySet;
  }

  #wrap(keySet: KeySet, recipient: Recipient, of: { readonly id?: string; readonly label?: string }): Wrap {
    return wrapKeySet(keySet, recipient, this.#config.keys.repositoryId, this.#random, of);
  }

  /** How to wrap for whom this wrap was made. */
  #recipientOf({ wrap, objectKey, epoch }: FoundWrap, others: readonly Recipient[]): Recipient | undefined {
    const publicKey = publicKeyOf(wrap, objectKey);
    if (publicKey !== undefined) {
      const isNamed = others.some((other) => 'publicKey' in other && Buffer.compare(other.publicKey, publicKey) === 0);
      return isNamed || this.#isVouchedFor({ wrap, epoch }) ? { publicKey } : undefined;
    }
    const own = this.#unlock;
    const secrets: Recipient[] = [...others];
    if (own instanceof Uint8Array) secrets.push({ key: own });
    else if ('passphrase' in own) secrets.push(own);
    return secrets.find((secret) => {
      const unlock = 'key' in secret ? secret.key : 'passphrase' in secret ? secret : undefined;
      return unlock !== undefined && this.#opens(wrap, objectKey, unlock);
    });
  }

  #isVouchedFor({ wrap, epoch }: Pick<FoundWrap, 'wrap' | 'epoch'>): boolean {
    return isVouchedFor(wrap, this.#keySet, epoch, this.#config.keys.repositoryId);
  }

  #opens(wrap: Wrap, objectKey: string, unlock = this.#unlock): boolean {
    return unwrapKeySet(wrap, unlock, this.#config.keys.repositoryId, objectKey) !== undefined;
  }

  /** Without `onDamaged` the first that cannot be read ends it. */
  async #wraps(opts: CallOptions, onDamaged?: (key: string) => void): Promise<FoundWrap[]> {
    const found: FoundWrap[] = this.#config.wraps.map((wrap) => ({ wrap, objectKey: CONFIG_KEY, epoch: 1 }));
    for await (const { key, wrap, epoch, error } of listWraps(this.#store, this.#config.id, opts)) {
      if (wrap !== undefined) found.push({ wrap, objectKey: key, epoch: epoch ?? 1 });
      else if (onDamaged !== undefined) onDamaged(key);
      else throw error;
    }
    return found;
  }
}

/** What is known of the key of a wrap that somebody who has the keys has just made for what is written now. */
function currentKey(wrap: Wrap, objectKey: string): KeyInfo {
  const publicKey = publicKeyOf(wrap, objectKey);
  return {
    id: wrap.id,
    kind: wrap.kind,
    label: wrap.label ?? '',
    isCurrent: true,
    isVouchedFor: true,
    ...(publicKey !== undefined && { publicKey: formatRecipient(publicKey) }),
  };
}
