import { DmaasError } from '../../errors.ts';

/** REPOSITORY_CORRUPT: what lies under `key` is not what was written. `fact` completes "… is damaged: ". */
export function damaged(key: string, fact: string, cause?: unknown): DmaasError {
  return new DmaasError('REPOSITORY_CORRUPT', `${key} is damaged: ${fact}`, {
    cause,
    hint: 'verify the repository: it says which backups are affected',
    details: { key },
  });
}

/** REPOSITORY_CORRUPT: a backup reaches a blob of which the index does not say where it lies. */
export function unnamed(id: string): DmaasError {
  return damaged('index/', `no segment of it names the blob ${id}, which a backup needs`);
}

/** REPOSITORY_VERSION: never taken for damage, never repaired, never deleted. */
export function needsNewer(key: string): DmaasError {
  return new DmaasError('REPOSITORY_VERSION', `${key} needs a newer DMaaS`, { hint: 'update DMaaS', details: { key } });
}
