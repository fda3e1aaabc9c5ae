import { openWithKeyFile, type OpenDeps, type OpenedRepository } from '@dmaas/core';
import type { Session } from './session.ts';

export type Repository = OpenedRepository['repository'];

/** Uses the repository that the flags of `REPOSITORY_FLAGS` name, and closes it. */
export async function withRepository<T>(session: Session, stores: OpenDeps, use: (repository: Repository) => Promise<T>): Promise<T> {
  const opened = await openWithKeyFile(await session.repositoryTarget(), stores, { signal: session.signal });
  try {
    return await use(opened.repository);
  } finally {
    await opened.close();
  }
}
