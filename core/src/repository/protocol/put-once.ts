import { DmaasError } from '../../errors.ts';
import type { CallOptions, ObjectStore, PutOptions } from '../../store/object-store.ts';
import { fenced } from './fence.ts';

/** What overwrites an object so many times overwrites all. */
const MAX_TRIES = 5;

/** Creates an object; whether it was (or is, with these bytes) ours. Nothing is ever overwritten. */
export async function putOnce(store: ObjectStore, key: string, body: Uint8Array, opts: PutOptions = {}): Promise<boolean> {
  try {
    await store.put(key, body, { ...opts, ifAbsent: true });
    return true;
  } catch (e) {
    if (!DmaasError.is(e, 'STORE_EXISTS')) throw e;
    const present = await store.get(key, opts);
    return present !== undefined && Buffer.compare(present, body) === 0;
  }
}

/**
 * Creates an object that is there, once more. Throws PREFLIGHT_FAILED when the store lets it: who writes there at the same time would destroy what another
 * has written. Throws REPOSITORY_FENCED when it was gone: a collection had given this process up.
 */
export async function requireConditionalCreates(store: ObjectStore, key: string, body: Uint8Array, opts: CallOptions = {}): Promise<void> {
  if (await isRefused(store, key, body, opts)) return;
  // Overwritten, or gone after this process had stood still for long; and it may be taken away again and again, but not for ever.
  for (let tries = 1; tries < MAX_TRIES; tries++) if (await isRefused(store, key, body, opts)) throw fenced(key);
  throw new DmaasError('PREFLIGHT_FAILED', `${store.location} overwrites objects that must be new: it ignores If-None-Match`, {
    hint: "use a store, or a version of it, that has conditional writes; several writers would destroy each other's objects in this one",
  });
}

async function isRefused(store: ObjectStore, key: string, body: Uint8Array, opts: CallOptions): Promise<boolean> {
  try {
    await store.put(key, body, { ...opts, ifAbsent: true });
    return false;
  } catch (e) {
    if (DmaasError.is(e, 'STORE_EXISTS')) return true;
    throw e;
  }
}
