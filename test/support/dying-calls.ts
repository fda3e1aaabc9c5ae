/**
 * Loaded before a program (`node --import`): lets it die at one of the calls by which it changes a file system, counted over all of its threads, so that a test can kill at each in turn.
 *
 *     DMAAS_DYING_COUNTER=FILE                         counts the calls as bytes of this file
 *     DMAAS_DYING_AT=before:7 or after:7               SIGKILL before, or after, the 7th takes effect
 *
 * The native half's calls count, too. What only reads, or makes durable, does not: dying there is dying at the next.
 */
import fs from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';

type Call = (...args: unknown[]) => unknown;

const { openSync, writeSync, fstatSync, constants } = fs;
const counter = openSync(process.env['DMAAS_DYING_COUNTER']!, 'a');
const [when, at] = (process.env['DMAAS_DYING_AT'] ?? 'after:Infinity').split(':') as ['before' | 'after', string];

function dying(call: Call, isChange: (args: readonly unknown[]) => boolean = () => true): Call {
  return (...args) => {
    if (!isChange(args)) return call(...args);
    writeSync(counter, '.');
    // Another thread may have counted in between: that one, or this, dies.
    const isLast = fstatSync(counter).size >= Number(at);
    if (isLast && when === 'before') process.kill(process.pid, 'SIGKILL');
    const result = call(...args);
    if (isLast && when === 'after') process.kill(process.pid, 'SIGKILL');
    return result;
  };
}

const calls = fs as unknown as Record<string, Call>;
const CHANGES = [
  'chmodSync',
  'fchmodSync',
  'fchownSync',
  'lchownSync',
  'futimesSync',
  'lutimesSync',
  'ftruncateSync',
  'linkSync',
  'mkdirSync',
  'rmdirSync',
  'symlinkSync',
  'unlinkSync',
  'writeSync',
  'copyFileSync',
];
for (const name of CHANGES) calls[name] = dying(calls[name]!);
calls['openSync'] = dying(calls['openSync']!, ([, flags]) => typeof flags === 'number' && (flags & constants.O_CREAT) !== 0);
syncBuiltinESMExports();

const NATIVE = new Set(['lsetxattr', 'lremovexattr', 'utimensat', 'mknodat', 'fallocate', 'futimens', 'fsetxattr', 'fremovexattr']);
const koffi = createRequire(import.meta.url)('koffi') as { load: (library: null) => { func: (...args: unknown[]) => Call } };
const load = koffi.load;
koffi.load = (library) => {
  const loaded = load(library);
  return {
    func: (...args) => {
      const call = loaded.func(...args);
      return NATIVE.has(args[0] as string) ? dying(call) : call;
    },
  };
};
