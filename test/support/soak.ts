import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { addCases } from './cases.ts';

const NIGHTS = join(import.meta.dirname, 'soak-nights.ts');

/** What a process holds, and a bucket, after a night. */
export interface Held {
  readonly handles: number;
  readonly threads: number;
  readonly descriptors: number;
  /** What is reachable in this process, after collecting garbage. */
  readonly memoryBytes: number;
  /** In the bucket, without the lists of collections, which stay (core/DESIGN.md, 7.6). */
  readonly objects: number;
  readonly storedBytes: number;
}

/** So many nights in one process, of its own: what others have left in this one would count as held. See `soak-nights.ts`. */
export async function soak(seed: number, nights: number): Promise<readonly Held[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [NIGHTS, String(seed), String(nights)], { maxBuffer: 64 << 20 });
  addCases(nights);
  return JSON.parse(stdout) as Held[];
}

/** What is held at least in the second half of the nights is what it was in the quarter before, or a few more: what leaks raises that. */
export function assertProcessIsFlat(held: readonly Held[]): void {
  for (const [what, slack] of [
    ['handles', 4],
    ['threads', 4],
    ['descriptors', 4],
    ['memoryBytes', 8 << 20],
  ] as const) {
    const { before, after } = least(held, what);
    assert.ok(after <= before + slack, `${what}: ${after}, and ${before} before`);
  }
}

/** The same of the bucket, after nights enough to fill it with the backups that are kept. */
export function assertBucketIsFlat(held: readonly Held[]): void {
  for (const what of ['objects', 'storedBytes'] as const) {
    const { before, after } = least(held, what);
    assert.ok(after <= before * 1.25, `${what}: ${after}, and ${before} before`);
  }
}

function least(held: readonly Held[], what: keyof Held): { readonly before: number; readonly after: number } {
  const half = Math.floor(held.length / 2);
  const of = (nights: readonly Held[]) => Math.min(...nights.map((night) => night[what]));
  return { before: of(held.slice(Math.floor(half / 2), half)), after: of(held.slice(half)) };
}
