import { readFile } from 'node:fs/promises';
import { DmaasError } from '@dmaas/core';

/** A file that a flag names. */
export async function readTextFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new DmaasError('USAGE', `${file} cannot be read`, { cause });
  }
}
