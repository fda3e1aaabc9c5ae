import { DmaasError } from '../../core/src/errors.ts';
import type { WantedBlob } from '../../core/src/repository/blobs/blob-reader.ts';
import type { Repository } from '../../core/src/repository/repository.ts';

/** The same repository, with another `fetchMany`. */
export function fetching(repository: Repository, fetchMany: Repository['fetchMany']): Repository {
  return new Proxy(repository, {
    get: (target, name): unknown => {
      const value: unknown = name === 'fetchMany' ? fetchMany : Reflect.get(target, name, target);
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value;
    },
  });
}

export const DAMAGED = new DmaasError('REPOSITORY_CORRUPT', 'the pack p is damaged');

/** The same repository, in which some chunks cannot be read any more. */
export function losing(repository: Repository, isGone: (blob: WantedBlob) => boolean): Repository {
  return fetching(repository, (ids, open, deliver, opts) => {
    const isLost = (blob: WantedBlob): boolean => {
      if (!isGone(blob)) return false;
      opts?.onUnreadable?.(blob.i, DAMAGED);
      return true;
    };
    const openBut: typeof open = (range) => {
      const frames = range.frames.map((frame) => ({ ...frame, blobs: frame.blobs.filter((blob) => !isLost(blob)) }));
      return open({ ...range, frames });
    };
    return repository.fetchMany(ids, openBut, deliver, opts);
  });
}
