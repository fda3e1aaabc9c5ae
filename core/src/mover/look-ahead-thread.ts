import type { FileStat } from './file-stat.ts';
import { systemCode, type Posix } from './posix.ts';
import { openDirectory, within } from './walk.ts';

/** Entries that are looked at before the walk comes to them, at most: the system should still know of them then. */
const MAX_LEAD = 16_384;
/** In so many names that follow each other, those at the end are left to the walk, which has the rest of its work besides. */
const STRETCH = { names: 96, ahead: 64 } as const;
/** In case a word of the walk is missed. */
const WAIT_MS = 1000;
/** In the place of a number of entries: the walk has ended. */
export const FAR = 2 ** 31 - 1;

export interface LookAheadTask {
  readonly path: string;
  /** One number: how many entries the walk has passed. */
  readonly passed: Int32Array<SharedArrayBuffer>;
}

/** Goes through the tree in the order of the walk, by what directories say of their entries. */
export function lookAhead({ path, passed }: LookAheadTask, native: Posix): void {
  let dev: number | undefined;
  const isHere = (stat: FileStat): boolean => (dev ??= stat.dev) === stat.dev;
  // What is in it, for the root may be named by a symlink.
  const stack = [openDirectory(Buffer.from(`${path}/.`), native, isHere)];
  try {
    let count = 1;
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const { open, names } = top;
      const name = names.next();
      if (name === undefined) {
        stack.pop()?.open.release();
        continue;
      }
      const lead = waitFor(passed, ++count);
      if (lead === FAR) return;
      orSkip(() => {
        if (names.isDirectory) stack.push(openDirectory(within(open.fd, name.subarray(0, -1)), native, isHere));
        else if (lead > 0 && count % STRETCH.names < STRETCH.ahead) native.statAt(open.fd, name);
      });
    }
  } finally {
    for (const { open } of stack) open.release();
  }
}

/** How far this is ahead of the walk, once it is not too far; `FAR` when the walk has ended. */
function waitFor(passed: Int32Array<SharedArrayBuffer>, count: number): number {
  for (;;) {
    const walked = Atomics.load(passed, 0);
    if (walked === FAR) return FAR;
    if (count - walked <= MAX_LEAD) return count - walked;
    Atomics.wait(passed, 0, walked, WAIT_MS);
  }
}

function orSkip(look: () => void): void {
  try {
    look();
  } catch (error) {
    systemCode(error);
  }
}
