import { DmaasError } from './errors.ts';

/** Damage may be that of the way and not of the store: a second answer is believed. */
export async function twice<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (e) {
    if (!DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
    return read();
  }
}
