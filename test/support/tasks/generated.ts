import { readFile, writeFile } from 'node:fs/promises';

/** Writes a generated document when it is not as it should be, or with `checkOnly` leaves it; whether it was. */
export async function writeGenerated(path: string, wanted: string, checkOnly: boolean): Promise<boolean> {
  const current = await readFile(path, 'utf8').catch(() => '');
  if (current !== wanted && !checkOnly) await writeFile(path, wanted);
  return current === wanted;
}
