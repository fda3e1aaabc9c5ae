import { commands } from 'vscode';
import type { Finding } from '@dmaas/core';
import { loadCore } from './core.ts';
import type { KnownLocation } from './locations.ts';
import { isDmaasError, type Action } from './reporter.ts';

/** What helps when a location cannot be read. */
export function remedyFor(location: KnownLocation, e: unknown, retry: () => unknown): Action {
  const code = isDmaasError(e) ? e.code : undefined;
  if (code === 'REPOSITORY_KEY') return { title: 'Open Another File…', run: () => commands.executeCommand('dmaas.openLocationFile') };
  const isFile = location.origin.kind === 'file';
  if (isFile && (code === 'STORE_ACCESS' || code === 'USAGE')) {
    return { title: 'Enter Keys…', run: () => commands.executeCommand('dmaas.enterKeys', location) };
  }
  return { title: 'Try Again', run: retry };
}

/** A location whose key is the wrong one lists nothing; to who looks for backups that is an error. */
export async function wrongKeyError({ message, hint }: Finding): Promise<Error> {
  const { DmaasError } = await loadCore();
  return new DmaasError('REPOSITORY_KEY', message, hint === undefined ? {} : { hint });
}
