import { DmaasError } from '../../errors.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import { encodeHeader, HEADER_BYTES, OBJECT_TYPE } from '../format/sealed.ts';

/** An object in the place of another, which then can never be created. Sealed objects are larger. */
const FENCE = encodeHeader(OBJECT_TYPE.fence, 0);

export const FENCE_BYTES = HEADER_BYTES;

export function isFence(object: Uint8Array): boolean {
  return FENCE.equals(object);
}

/** Creates a fence unless something is there; whether the place is fenced now. */
export async function putFence(store: ObjectStore, key: string, opts: CallOptions = {}): Promise<boolean> {
  try {
    await store.put(key, FENCE, { ...opts, ifAbsent: true });
    return true;
  } catch (e) {
    if (!DmaasError.is(e, 'STORE_EXISTS')) throw e;
    const present = await store.get(key, opts);
    return present !== undefined && isFence(present);
  }
}

export function fenced(what: string): DmaasError {
  return new DmaasError('REPOSITORY_FENCED', `${what} was given up by a collection of garbage, after it had been silent for too long`, {
    hint: 'run it again as a new operation; what is stored is not sent again',
  });
}
