import { DmaasError } from '../errors.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';

/** Creates an object; whether it was (or is, with these bytes) ours. Nothing is ever overwritten. */
export async function putOnce(store: ObjectStore, key: string, body: Uint8Array, opts: CallOptions = {}): Promise<boolean> {
  try {
    await store.put(key, body, { ...opts, ifAbsent: true });
    return true;
  } catch (e) {
    if (!DmaasError.is(e, 'STORE_EXISTS')) throw e;
    const present = await store.get(key, opts);
    return present !== undefined && Buffer.compare(present, body) === 0;
  }
}
