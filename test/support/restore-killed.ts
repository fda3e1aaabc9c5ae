/** Restores of a volume that are killed at a call, and begun again (row A5 of the fault matrix). */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { unfinishedRestore } from '../../core/src/mover/restore-marker.ts';
import { moverResultName, moverResultSchema } from '../../core/src/mover/task.ts';
import { newOperationId } from '../../core/src/operation.ts';
import { formatKey } from '../../core/src/repository/keys/keys.ts';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import { FileStore } from '../../core/src/store/file.ts';
import { hex, recorder, scratch, settled, TreeOracle, UNLOCK, type SpecEntry } from './volume.ts';
import { addCases } from './cases.ts';

const ENTRY = join(import.meta.dirname, '../../core/src/mover/entry.ts');
const DYING = join(import.meta.dirname, 'dying-calls.ts');

const at = (seconds: number) => ({ mtimeNs: String(1_600_000_000_000_000_000n + BigInt(seconds) * 1_000_000_001n) });
const owner = { uid: 1001, gid: 1002 };

/** Some of everything that is restored by calls of its own. */
const SOURCE: readonly SpecEntry[] = [
  { path: [], type: 'directory', mode: 0o555, ...owner, ...at(0), xattrs: { [hex('user.of')]: hex('root') } },
  { path: [hex('dir')], type: 'directory', mode: 0o2750, ...owner, ...at(1), xattrs: { [hex('user.of')]: hex('directory') } },
  {
    path: [hex('dir'), hex('small')],
    type: 'file',
    mode: 0o4755,
    ...owner,
    ...at(2),
    content: [[100, 3]],
    xattrs: { [hex('user.of')]: hex('file') },
  },
  { path: [hex('dir'), hex('second name')], type: 'file', mode: 0o640, ...owner, ...at(3), link: [hex('dir'), hex('small')] },
  { path: [hex('dir'), hex('deep')], type: 'directory', mode: 0o555, ...owner, ...at(4), xattrs: { [hex('user.of')]: hex('closed') } },
  {
    path: [hex('dir'), hex('deep'), hex('large')],
    type: 'file',
    mode: 0o444,
    ...owner,
    ...at(5),
    content: [[2_600_000, 4], [1 << 20], [70_000, 5]],
    xattrs: { [hex('user.of')]: hex('read-only file') },
  },
  { path: [hex('empty')], type: 'file', mode: 0o600, ...owner, ...at(6), content: [] },
  { path: [hex('fifo')], type: 'fifo', mode: 0o620, ...owner, ...at(7) },
  { path: [hex('link')], type: 'symlink', mode: 0o777, ...owner, ...at(8), target: hex('../nowhere') },
];

export interface KilledRestores {
  /** Calls of a restore that is not disturbed. */
  readonly calls: number;
  /** Runs that were killed; the others had fewer calls, as threads share the work as it comes. */
  readonly killed: number;
}

/**
 * Kills at every `step`-th call from `first` on, before and after its effect, and begins again each time: the volume must then be as the backup, and nothing else be left.
 * `asOwner`: as the user whose files they are, and without any privilege.
 */
export async function killRestores(
  first: number,
  step: number,
  { isInPlace, asOwner }: { readonly isInPlace: boolean; readonly asOwner: boolean },
): Promise<KilledRestores> {
  const dir = scratch();
  const oracle = new TreeOracle();
  const path = (name: string) => join(dir.path, name);
  try {
    for (const name of ['source', 'store']) mkdirSync(path(name));
    await oracle.build(path('source'), SOURCE);
    const repository = await createRepository(new FileStore(path('store')), UNLOCK);
    const { root } = await captureVolume({ name: 'data', path: path('source'), mode: 'filesystem', repository, now: settled }, recorder());
    const expected = await oracle.describe(path('source'));
    let before: readonly string[] = [];
    if (asOwner) execFileSync('chown', ['-R', `${owner.uid}:${owner.gid}`, dir.path]);

    const restore = async (operation: string, dieAt: string): Promise<{ readonly signal: string | null; readonly output: string }> => {
      const task = { schema: 1, operation, index: 0, volume: { claim: 'data', mode: 'filesystem' }, path: path('target') };
      const store = { provider: 'file', path: path('store') };
      writeFileSync(
        path('task.json'),
        JSON.stringify({ ...task, direction: 'populate', root, isInPlace, allowDevices: true, store, unlock: formatKey(UNLOCK) }),
      );
      writeFileSync(path('counter'), '');
      chownSync(path('counter'), owner.uid, owner.gid);
      const env = { ...process.env, DMAAS_DYING_COUNTER: path('counter'), DMAAS_DYING_AT: dieAt };
      const child = spawn(process.execPath, ['--import', DYING, ENTRY, path('task.json')], {
        env,
        stdio: ['ignore', 'pipe', 'pipe'],
        ...(asOwner ? owner : {}),
      });
      let output = '';
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
      const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
      assert.ok(signal === 'SIGKILL' || code === 0, `${dieAt}: ${output}`);
      return { signal, output };
    };
    const makeTarget = async () => {
      rmSync(path('target'), { recursive: true, force: true });
      mkdirSync(path('target'));
      chownSync(path('target'), owner.uid, owner.gid);
      // What is to give way, of another kind or content, in another place.
      if (isInPlace) await oracle.build(path('target'), IN_THE_WAY);
      before = readdirSync(dir.path).sort();
    };

    await makeTarget();
    await restore(newOperationId(), 'after:Infinity');
    const calls = statSync(path('counter')).size;
    assert.deepEqual(await oracle.describe(path('target')), expected);
    let killed = 0;
    for (let call = first; call <= calls; call += step) {
      for (const when of ['before', 'after']) {
        addCases(1);
        const operation = newOperationId();
        await makeTarget();
        const { signal } = await restore(operation, `${when}:${call}`);
        if (signal !== null) killed++;
        const where = `${when} call ${call} of ${calls}`;
        assert.deepEqual(readdirSync(dir.path).sort(), before, `${where}: nothing outside of the target is touched`);
        // Between the last two calls: removing the marker has changed the time of the root, and nothing is left to say so.
        const isLast = signal !== null && readdirSync(path('target')).includes('fifo') && unfinishedRestore(path('target')) === undefined;
        await restore(operation, 'after:Infinity');
        const again = await openRepository(new FileStore(path('store')), UNLOCK);
        const { findings } = moverResultSchema.parse(await again.runs.get(operation, moverResultName({ index: 0 })));
        await again.close();
        assert.deepEqual(findings, [], where);
        const restored = await oracle.describe(path('target'));
        assert.deepEqual(isLast ? restored.slice(1) : restored, isLast ? expected.slice(1) : expected, where);
      }
    }
    return { calls, killed };
  } finally {
    oracle.stop();
    dir.rm();
  }
}

const IN_THE_WAY: readonly SpecEntry[] = [
  { path: [hex('dir')], type: 'directory', mode: 0o700, ...owner, ...at(20) },
  { path: [hex('dir'), hex('small')], type: 'directory', mode: 0o700, ...owner, ...at(21) },
  { path: [hex('dir'), hex('small'), hex('child')], type: 'file', mode: 0o600, ...owner, ...at(22), content: [[10, 9]] },
  { path: [hex('empty')], type: 'file', mode: 0o640, ...owner, ...at(23), content: [[5000, 8]] },
  { path: [hex('link')], type: 'file', mode: 0o640, ...owner, ...at(24), content: [[50, 8]] },
  { path: [hex('new')], type: 'symlink', mode: 0o777, ...owner, ...at(25), target: hex('dir') },
];
