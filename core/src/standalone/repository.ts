import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { basename, dirname } from 'node:path';
import { DmaasError } from '../errors.ts';
import type { OpenDeps } from '../location/open.ts';
import { CONFIG_KEY } from '../repository/keys/config.ts';
import { deriveScope, formatKey, keyFrom, newKey, openSource, parseKey } from '../repository/keys/keys.ts';
import { KeyRing } from '../repository/keys/key-ring.ts';
import { parseUnlock, type Unlock } from '../repository/keys/recipients.ts';
import { createRepository, openRepository, type Repository } from '../repository/repository.ts';
import type { StoreConfig } from '../store/config.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';

/** A repository that is used without a cluster: where it is, and the file that holds its key. */
export interface RepositoryTarget {
  readonly store: StoreConfig;
  readonly keyFile: string;
  /** Opens the repository in the place of the key file. */
  readonly passphrase?: string;
}

export interface OpenedRepository {
  readonly repository: Repository;
  close(): Promise<void>;
}

/** Opens a repository. Throws REPOSITORY_NOT_FOUND, REPOSITORY_KEY, REPOSITORY_VERSION, REPOSITORY_CORRUPT; USAGE when there is no key file. */
export async function openWithKeyFile(target: RepositoryTarget, deps: OpenDeps, opts: CallOptions = {}): Promise<OpenedRepository> {
  const unlock = unlockOf(target);
  return withStore(target.store, deps, (objects) =>
    openingWith(objects, unlock, opts, (key) => openRepository(objects, key, { ...opts, ...(deps.cache && { cache: deps.cache }) })),
  );
}

/** The keys of a repository, and who has them. Throws as `openWithKeyFile`. */
export async function withTargetKeyRing<T>(
  target: RepositoryTarget,
  deps: OpenDeps,
  use: (ring: KeyRing) => Promise<T>,
  opts: CallOptions = {},
): Promise<T> {
  const unlock = unlockOf(target);
  const objects = await deps.openStore(target.store);
  try {
    return await use(await openingWith(objects, unlock, opts, (key) => KeyRing.open(objects, key, randomBytes, opts)));
  } finally {
    await objects.close();
  }
}

function unlockOf({ keyFile, passphrase }: RepositoryTarget): Unlock {
  if (passphrase !== undefined) return { passphrase };
  const text = readFileText(keyFile);
  if (text !== undefined) return keyFrom(keyFile, () => parseUnlock(text));
  throw new DmaasError('USAGE', `the key file ${keyFile} does not exist`, { hint: 'it was written by "repository init"' });
}

/** Opens with the key or, when it is that of the location to which the repository belongs, with the one that is derived from it. */
async function openingWith<T>(objects: ObjectStore, unlock: Unlock, opts: CallOptions, open: (unlock: Unlock) => Promise<T>): Promise<T> {
  try {
    return await open(unlock);
  } catch (e) {
    if (!DmaasError.is(e, 'REPOSITORY_KEY') || !(unlock instanceof Uint8Array)) throw e;
    const sealed = await objects.get('source', opts);
    const source = sealed && openSource(unlock, basename(objects.location), sealed);
    if (source === undefined) throw e;
    return open(deriveScope(unlock, source).unlock);
  }
}

/**
 * Makes a repository, with the key in the key file or, when there is none, with a new key: that file is then complete and durable before
 * anything is stored. An existing file is never written to. Throws STORE_EXISTS when there is a repository.
 */
export async function initRepository(
  target: RepositoryTarget,
  deps: OpenDeps,
  opts: CallOptions = {},
): Promise<OpenedRepository & { readonly isNewKey: boolean }> {
  if (target.passphrase !== undefined) {
    throw new DmaasError('USAGE', 'a repository is made with a key file', { hint: 'kubectl dmaas key add adds a passphrase to it' });
  }
  const present = readKeyFile(target.keyFile);
  if (target.store.provider === 'file') makeFolder(target.store.path);
  const opened = await withStore(target.store, deps, async (objects) => {
    // A key that opens nothing, left behind, would be taken for the one that does.
    if ((await objects.stat(CONFIG_KEY, opts)) !== undefined) {
      throw new DmaasError('STORE_EXISTS', `a repository exists at ${objects.location}`, { hint: 'use it with its own key file' });
    }
    return createRepository(objects, present ?? createKeyFile(target.keyFile), { ...opts, ...(deps.cache && { cache: deps.cache }) });
  });
  return { ...opened, isNewKey: present === undefined };
}

async function withStore(
  config: StoreConfig,
  deps: OpenDeps,
  open: (objects: ObjectStore) => Promise<Repository>,
): Promise<OpenedRepository> {
  const objects = await deps.openStore(config);
  try {
    const repository = await open(objects);
    const close = async () => {
      await repository.close();
      await objects.close();
    };
    return { repository, close };
  } catch (e) {
    await objects.close();
    throw e;
  }
}

/** Undefined when there is no such file. */
function readKeyFile(path: string): Uint8Array | undefined {
  const text = readFileText(path);
  return text === undefined ? undefined : keyFrom(path, () => parseKey(text));
}

function readFileText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return undefined;
    throw new DmaasError('USAGE', `the key file ${path} cannot be read (${codeOf(cause)})`, { cause });
  }
}

function createKeyFile(path: string): Uint8Array {
  const key = newKey();
  try {
    const fd = openSync(path, 'wx', 0o600);
    try {
      writeFileSync(fd, `${formatKey(key)}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    const folder = openSync(dirname(path), 'r');
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  } catch (cause) {
    throw new DmaasError('USAGE', `the key file ${path} cannot be written (${codeOf(cause)})`, { cause });
  }
  return key;
}

/** Its last level only: a path that is missing from higher up may be a disk that is not mounted. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (cause) {
    if (codeOf(cause) !== 'EEXIST') throw new DmaasError('USAGE', `the directory ${path} cannot be made (${codeOf(cause)})`, { cause });
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown error';
}
