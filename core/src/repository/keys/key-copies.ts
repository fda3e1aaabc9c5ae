import { isDeepStrictEqual } from 'node:util';
import { DmaasError } from '../../errors.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import { putOnce } from '../protocol/put-once.ts';
import { CONFIG_KEY, epochCopyKey, epochKey, jsonBytes, listKeys, parseKeyObject, WRAPS, type RepositoryConfig } from './config.ts';
import { isVouchedFor } from './key-wrap.ts';
import { publicKeyOf } from './recipients.ts';

const EPOCH_KEY = /^keys\/epoch-(\d{3})(?:-copy)?$/;

/** An object under `keys/` that is not what it should be. */
export interface KeyFault {
  readonly key: string;
  readonly code: 'key-copy-missing' | 'key-damaged' | 'key-foreign';
  readonly fact: string;
  /** What it should hold, where the other copy tells. */
  readonly body?: Uint8Array;
}

type KeyObject = { readonly body: Uint8Array; readonly value: ReturnType<typeof parseKeyObject> } | { readonly damage: DmaasError };

/** All that backups are sealed with hangs on wrapped keys: each stands in two places, which must be there and equal (core/DESIGN.md, 3.2). */
export async function keyFaults(store: ObjectStore, config: RepositoryConfig, opts: CallOptions): Promise<readonly KeyFault[]> {
  const objects = new Map<string, KeyObject>();
  for (const key of await listKeys(store, opts)) {
    const found = await readKeyObject(store, key, config.id, opts);
    if (found !== undefined) objects.set(key, found);
  }
  const faults: KeyFault[] = [];
  const compare = (key: string, other: { readonly key: string; readonly body: Uint8Array; readonly value: unknown }) => {
    const found = objects.get(key);
    if (found === undefined) {
      faults.push({ key, code: 'key-copy-missing', fact: `${key} is missing, the second copy of keys in ${other.key}`, body: other.body });
    } else if ('damage' in found) faults.push({ key, code: 'key-damaged', fact: found.damage.message, body: other.body });
    else if (!isDeepStrictEqual(found.value, other.value)) {
      faults.push({ key, code: 'key-damaged', fact: `${key} differs from the second copy of the same keys in ${other.key}` });
    }
  };
  const paired = new Set<string>();
  for (const wrap of config.wraps) {
    const value = { repositoryId: config.id, wrap };
    paired.add(WRAPS + wrap.id);
    compare(WRAPS + wrap.id, { key: CONFIG_KEY, body: jsonBytes(value), value });
  }
  for (const epoch of new Set([...objects.keys()].flatMap((key) => EPOCH_KEY.exec(key)?.[1] ?? []))) {
    const places = [epochKey(Number(epoch)), epochCopyKey(Number(epoch))] as const;
    const sound = places.find((key) => isSound(objects.get(key)));
    if (sound === undefined) continue;
    const other = places.find((key) => key !== sound) as string;
    paired.add(other);
    compare(other, { key: sound, ...(objects.get(sound) as { body: Uint8Array; value: unknown }) });
  }
  for (const [key, found] of objects) {
    if ('damage' in found) {
      if (!paired.has(key)) faults.push({ key, code: 'key-damaged', fact: found.damage.message });
      continue;
    }
    const { wrap, wraps, epoch = 1 } = found.value;
    for (const each of [...(wraps ?? []), ...(wrap === undefined ? [] : [wrap])]) {
      if (publicKeyOf(each, key) === undefined || isVouchedFor(each, config.keys.material.keySet, epoch, config.keys.repositoryId))
        continue;
      const fact = `nobody who had the keys has written the recovery key ${each.id} in ${key}: it is given no new ones`;
      faults.push({ key, code: 'key-foreign', fact });
    }
  }
  return faults;
}

/** Writes the copies that are missing or cannot be read, where the other one tells what they held. Returns their keys. */
export async function restoreKeyCopies(store: ObjectStore, config: RepositoryConfig, opts: CallOptions): Promise<readonly string[]> {
  const restored: string[] = [];
  for (const { key, code, body } of await keyFaults(store, config, opts)) {
    if (body === undefined) continue;
    if (code === 'key-damaged') await store.delete(key, opts);
    if (await putOnce(store, key, body, opts)) restored.push(key);
  }
  return restored;
}

function isSound(found: KeyObject | undefined): boolean {
  return found !== undefined && 'value' in found;
}

/** Undefined when it is gone, or another repository's. */
async function readKeyObject(store: ObjectStore, key: string, repositoryId: string, opts: CallOptions): Promise<KeyObject | undefined> {
  const body = await store.get(key, opts);
  if (body === undefined) return undefined;
  try {
    const value = parseKeyObject(body, key);
    return value.repositoryId === repositoryId ? { body, value } : undefined;
  } catch (e) {
    if (!DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
    return { damage: e };
  }
}
