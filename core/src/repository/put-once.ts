import { DmaasError } from '../errors.ts';
import type { CallOptions, ObjectStore, PutOptions } from '../store/object-store.ts';

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

/** Creates an object that is there, once more. Throws PREFLIGHT_FAILED when the store lets it: who writes there at the same time would destroy what another has written. */
export async function requireConditionalCreates(store: ObjectStore, key: string, body: Uint8Array, opts: CallOptions = {}): Promise<void> {
  try {
    await store.put(key, body, { ...opts, ifAbsent: true });
  } catch (e) {
    if (DmaasError.is(e, 'STORE_EXISTS')) return;
    throw e;
  }
  throw new DmaasError('PREFLIGHT_FAILED', `${store.location} overwrites objects that must be new: it ignores If-None-Match`, {
    hint: "use a store, or a version of it, that has conditional writes; several writers would destroy each other's objects in this one",
  });
}
