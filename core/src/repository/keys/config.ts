import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import { DmaasError } from '../../errors.ts';
import { mapAhead } from '../../parallel.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import { LIMITS } from '../format/blob.ts';
import type { ChunkerParameters } from '../format/chunker.ts';
import { damaged, needsNewer } from '../format/damage.ts';
import type { Random } from '../format/derive.ts';
import { newKeySet, RepositoryKeys, type KeySet } from '../format/key-set.ts';
import { encodeHeader, FORMAT_VERSION, OBJECT_TYPE } from '../format/sealed.ts';
import { parseStored } from '../format/stored-json.ts';
import { unwrapKeySet, wrapKeySet, wrapSchema, type Wrap } from './key-wrap.ts';
import type { Unlock } from './recipients.ts';

export const CONFIG_KEY = 'dmaas.json';
export const WRAPS = 'keys/';
const MAGIC = 'dmaas-repository';
/** `dmaas.json` is sealed with the keys that the repository was made with, as it is never written again. */
const CONFIG_EPOCH = 1;

export interface RepositoryParameters {
  readonly chunker: ChunkerParameters;
  /** Sizes of packs, bytes. */
  readonly packBytes: number;
  readonly nodePackBytes: number;
}

export const DEFAULT_PARAMETERS: RepositoryParameters = {
  chunker: { min: 256 << 10, average: 1 << 20, max: 4 << 20, block: 128 << 10 },
  packBytes: 26 << 20,
  nodePackBytes: 8 << 20,
};

const size = z.number().int().positive();
const packSize = size.min(1024).max(LIMITS.pack);
const parametersSchema = z.looseObject({
  chunker: z
    .looseObject({ min: size.min(64), average: size, max: size.max(LIMITS.blob), block: size.min(512).max(LIMITS.blob) })
    .refine(({ min, average, max }) => min <= average && average <= max && Number.isInteger(Math.log2(average))),
  packBytes: packSize,
  nodePackBytes: packSize,
});

/** What decides whether this version may read the rest. */
const envelopeSchema = z.looseObject({
  magic: z.literal(MAGIC),
  formatVersion: size,
  minReader: size,
  required: z.array(z.string()),
});
const plainSchema = envelopeSchema.extend({
  optional: z.array(z.string()),
  repositoryId: z.string().regex(/^[0-9a-f]{32}$/),
  createdAt: z.string(),
  keys: z.array(wrapSchema),
  sealed: z.base64(),
});
const sealedSchema = z.looseObject({ parameters: parametersSchema });

/** An object under `keys/`: a recipient that was added, or all of an epoch. */
const wrapObjectSchema = z.looseObject({
  repositoryId: z.string(),
  epoch: size.exactOptional(),
  wrap: wrapSchema.exactOptional(),
  wraps: z.array(wrapSchema).exactOptional(),
});

/** An opened `dmaas.json`. */
export interface RepositoryConfig {
  readonly keys: RepositoryKeys;
  readonly id: string;
  readonly parameters: RepositoryParameters;
  readonly wraps: readonly Wrap[];
}

export interface NewConfig {
  readonly config: RepositoryConfig;
  /** The objects to write, `dmaas.json` last. */
  readonly objects: readonly { readonly key: string; readonly body: Uint8Array }[];
}

export function makeConfig(unlock: Uint8Array, parameters: RepositoryParameters, random: Random, now: Date): NewConfig {
  const checked = parametersSchema.safeParse(parameters);
  if (!checked.success) throw new DmaasError('INTERNAL', 'the parameters of the repository are not valid', { cause: checked.error });
  const repositoryId = random(16);
  const keySet = newKeySet(random);
  const keys = new RepositoryKeys(keySet, repositoryId);
  const wrap = wrapKeySet(keySet, { key: unlock }, repositoryId, random);
  const id = Buffer.from(repositoryId).toString('hex');
  const identity = {
    magic: MAGIC,
    formatVersion: FORMAT_VERSION,
    minReader: FORMAT_VERSION,
    required: [],
    optional: [],
    repositoryId: id,
    createdAt: `${now.toISOString().slice(0, 19)}Z`,
  };
  const sealed = configCipher(keys).seal(0, Buffer.from(JSON.stringify({ ...identity, parameters })), random);
  const plain = { ...identity, keys: [wrap], sealed: sealed.toString('base64') };
  return {
    config: { keys, id, parameters, wraps: [wrap] },
    objects: [
      { key: WRAPS + wrap.id, body: jsonBytes({ repositoryId: id, wrap }) },
      { key: CONFIG_KEY, body: jsonBytes(plain) },
    ],
  };
}

/** Opens the repository's identity with a key; undefined when there is none. */
export async function loadConfig(store: ObjectStore, unlock: Unlock, opts: CallOptions): Promise<RepositoryConfig | undefined> {
  try {
    return await readConfig(store, unlock, opts);
  } catch (e) {
    throw DmaasError.is(e, 'REPOSITORY_CORRUPT') ? notOpened(e) : e;
  }
}

/** Of damage to what a repository is opened with, nobody learns more by verifying. */
export function notOpened({ code, message, details, cause }: DmaasError): DmaasError {
  return new DmaasError(code, message, {
    cause,
    details,
    hint: `bring ${String(details['key'])} back from an older version in the bucket`,
  });
}

async function readConfig(store: ObjectStore, unlock: Unlock, opts: CallOptions): Promise<RepositoryConfig | undefined> {
  const reading = store.get(CONFIG_KEY, opts);
  const keysListed = listKeys(store, opts);
  keysListed.catch(() => undefined); // it is thrown where the list is needed
  const object = await reading;
  if (object === undefined) return undefined;
  if (object.length > LIMITS.config) throw damaged(CONFIG_KEY, 'it is too large');
  const { minReader, required } = parseStored(object, envelopeSchema, CONFIG_KEY);
  if (minReader > FORMAT_VERSION || required.length > 0) throw needsNewer(CONFIG_KEY);
  const plain = parseStored(object, plainSchema, CONFIG_KEY);
  const repositoryId = Buffer.from(plain.repositoryId, 'hex');
  const reload = async (epoch: number) => {
    const present = await Promise.all([epochKey(epoch), epochCopyKey(epoch)].map((key) => store.stat(key)));
    return present.every((object) => object === undefined) ? undefined : findKeySet(store, unlock, plain, listKeys(store, {}), {});
  };
  const keys = new RepositoryKeys(await findKeySet(store, unlock, plain, keysListed, opts), repositoryId, reload);
  const sealed = configCipher(keys).open(0, Buffer.from(plain.sealed, 'base64'));
  const { parameters, ...identity } = parseStored(sealed, sealedSchema, CONFIG_KEY);
  const { keys: wraps, sealed: _, ...claimed } = plain;
  if (!isDeepStrictEqual(identity, claimed)) throw damaged(CONFIG_KEY, 'its readable part is not what was sealed');
  return { keys, id: plain.repositoryId, parameters, wraps };
}

/** The newest key set that `unlock` opens. Each stands in two places: the first in `dmaas.json` and `keys/`, later ones twice in `keys/`. */
async function findKeySet(
  store: ObjectStore,
  unlock: Unlock,
  config: z.infer<typeof plainSchema>,
  keysListed: Promise<readonly string[]>,
  opts: CallOptions,
): Promise<KeySet> {
  const repositoryId = Buffer.from(config.repositoryId, 'hex');
  const found: KeySet[] = [];
  let damage: Error | undefined;
  const attempt = (wrap: Wrap, key: string) => {
    try {
      const keySet = unwrapKeySet(wrap, unlock, repositoryId, key);
      if (keySet !== undefined) found.push(keySet);
      return keySet !== undefined;
    } catch (e) {
      damage = e as Error;
      return false;
    }
  };
  const opened = new Set(config.keys.filter((wrap) => attempt(wrap, CONFIG_KEY)).map((wrap) => WRAPS + wrap.id));
  const others = (await keysListed).filter((key) => !opened.has(key));
  for await (const { key, wrap, error } of readWraps(store, others, config.repositoryId, opts)) {
    if (wrap !== undefined) attempt(wrap, key);
    else damage ??= error as Error;
  }
  const newest = found.reduce<KeySet | undefined>((best, set) => (best && best.epochs.length >= set.epochs.length ? best : set), undefined);
  if (newest !== undefined) return newest;
  if (damage !== undefined) throw damage;
  const what = 'passphrase' in unlock ? 'passphrase' : 'recoveryKey' in unlock ? 'recovery key' : 'key';
  throw new DmaasError('REPOSITORY_KEY', `the ${what} does not open the repository at ${store.location}`, {
    hint:
      what === 'key'
        ? 'use the key that the repository was made with, or one that was added to it'
        : `use a ${what} that was added to it, or the key that the repository was made with`,
  });
}

interface ListedWrap {
  readonly key: string;
  readonly wrap?: Wrap;
  /** Of the newest keys in it. */
  readonly epoch?: number;
  readonly error?: unknown;
}

/** The wrapped keys under `keys/` that belong to this repository; with `error` instead of a wrap, those that cannot be read. */
export async function* listWraps(store: ObjectStore, repositoryId: string, opts: CallOptions): AsyncGenerator<ListedWrap> {
  yield* readWraps(store, await listKeys(store, opts), repositoryId, opts);
}

/** Of what may be an object with wrapped keys. */
export async function listKeys(store: ObjectStore, opts: CallOptions): Promise<readonly string[]> {
  const listed: string[] = [];
  for await (const { key, size: bytes } of store.list(WRAPS, opts)) if (bytes <= LIMITS.config) listed.push(key);
  return listed;
}

async function* readWraps(
  store: ObjectStore,
  keys: readonly string[],
  repositoryId: string,
  opts: CallOptions,
): AsyncGenerator<ListedWrap> {
  const read = async (key: string): Promise<ListedWrap[]> => {
    const object = await store.get(key, opts);
    if (object === undefined) return [];
    try {
      const { repositoryId: owner, epoch = 1, wrap, wraps } = parseKeyObject(object, key);
      return owner === repositoryId
        ? [...(wraps ?? []), ...(wrap === undefined ? [] : [wrap])].map((found) => ({ key, wrap: found, epoch }))
        : [];
    } catch (error) {
      return [{ key, error }];
    }
  };
  for await (const results of mapAhead(keys, 8, read)) yield* results;
}

/** An object under `keys/`. Throws REPOSITORY_CORRUPT. */
export function parseKeyObject(object: Uint8Array, key: string): z.infer<typeof wrapObjectSchema> {
  const value = parseStored(object, wrapObjectSchema, key);
  if (value.wrap === undefined && value.wraps === undefined) throw damaged(key, 'it holds no wrapped key');
  return value;
}

function configCipher(keys: RepositoryKeys) {
  const header = encodeHeader(OBJECT_TYPE.config, CONFIG_EPOCH);
  return keys.sections(header, CONFIG_KEY);
}

/** Where the keys of an epoch are, wrapped for everybody who is to have them. */
export function epochKey(epoch: number): string {
  return `${WRAPS}epoch-${String(epoch).padStart(3, '0')}`;
}

/** Where they are once more. */
export function epochCopyKey(epoch: number): string {
  return `${epochKey(epoch)}-copy`;
}

export function jsonBytes(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value, undefined, 1)}\n`);
}
