import { DmaasError } from '../../errors.ts';

/** REPOSITORY_CORRUPT: what lies under `key` is not what was written. `fact` completes "… is damaged: ". */
export function damaged(key: string, fact: string, cause?: unknown): DmaasError {
  return new DmaasError('REPOSITORY_CORRUPT', `${key} is damaged: ${fact}`, {
    cause,
    hint: 'verify the repository: it says which backups are affected',
    details: { key },
  });
}

/** REPOSITORY_CORRUPT, as far as the keys tell that are known: see `RepositoryKeys.opening`. */
export function ofUnknownEpoch(key: string, epoch: number): DmaasError {
  return new DmaasError('REPOSITORY_CORRUPT', `${key} is damaged: it is sealed with key epoch ${epoch}, which nobody has begun`, {
    hint: 'verify the repository: it says which backups are affected',
    details: { key, epoch },
  });
}

/** REPOSITORY_KEY: it is whole, so there was such an epoch. */
export function keysMissing(key: string, epoch: number): DmaasError {
  return new DmaasError('REPOSITORY_KEY', `${key} is sealed with key epoch ${epoch}, whose keys are missing`, {
    hint: `bring keys/epoch-${String(epoch).padStart(3, '0')} back from an older version in the bucket`,
    details: { key, epoch },
  });
}

/** REPOSITORY_KEY: never taken for damage, never repaired, never deleted. */
export function notGiven(key: string, epoch: number): DmaasError {
  return new DmaasError('REPOSITORY_KEY', `${key} is sealed with key epoch ${epoch}, which was not given to the key in use`, {
    hint: 'use a key that has it: "kubectl dmaas key list" says which are current',
    details: { key, epoch },
  });
}

/** Whether it is the object that cannot be read, damaged, newer or sealed for others, and not the store that does not answer. */
export function isUnreadable(e: unknown): e is DmaasError {
  return (['REPOSITORY_CORRUPT', 'REPOSITORY_VERSION', 'REPOSITORY_KEY'] as const).some((code) => DmaasError.is(e, code));
}

/** REPOSITORY_CORRUPT: a backup reaches a blob of which the index does not say where it lies. */
export function unnamed(id: string): DmaasError {
  return damaged('index/', `no segment of it names the blob ${id}, which a backup needs`);
}

/** REPOSITORY_VERSION: never taken for damage, never repaired, never deleted. */
export function needsNewer(key: string): DmaasError {
  return new DmaasError('REPOSITORY_VERSION', `${key} needs a newer DMaaS`, { hint: 'update DMaaS', details: { key } });
}
