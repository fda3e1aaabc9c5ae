/** A source with one small fault in it. */
import { readFileSync } from 'node:fs';

export interface Mutant {
  /** Absolute path. */
  readonly file: string;
  readonly line: number;
  /** What stands between these places is replaced. */
  readonly from: number;
  readonly to: number;
  readonly text: string;
  /** The replaced text. */
  readonly before: string;
}

/** The source as it is with the fault. */
export function mutated({ file, from, to, text }: Mutant): string {
  const source = readFileSync(file, 'utf8');
  return source.slice(0, from) + text + source.slice(to);
}
