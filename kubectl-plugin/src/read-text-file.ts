import { readFile } from 'node:fs/promises';
import { DmaasError } from '@dmaas/core';

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'you may not read it',
  EISDIR: 'it is a directory',
};

/** A file that a flag names. */
export async function readTextFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? REASONS[String(cause.code)] : undefined;
    throw new DmaasError('USAGE', `${file} cannot be read${why === undefined ? '' : `: ${why}`}`, { cause });
  }
}
