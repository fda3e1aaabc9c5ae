import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runMover } from '../../core/src/mover/entry.ts';
import { moverResultName, moverResultSchema, type MoverResult } from '../../core/src/mover/task.ts';
import { newOperationId, type OperationId } from '../../core/src/operation.ts';
import { formatKey } from '../../core/src/repository/keys/keys.ts';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import { FileStore } from '../../core/src/store/file.ts';
import { scratch, TreeOracle, UNLOCK } from '../support/volume.ts';

const ENTRY = join(import.meta.dirname, '../../core/src/mover/entry.ts');
const CANARY = 'canary-of-the-contents';

describe('the mover', () => {
  let dir: ReturnType<typeof scratch>;
  let oracle: TreeOracle;
  const at = (path: string): string => join(dir.path, path);
  const never = new AbortController().signal;
  before(() => {
    oracle = new TreeOracle();
  });
  after(() => {
    oracle.stop();
  });
  beforeEach(async () => {
    dir = scratch();
    for (const name of ['source', 'target', 'store']) mkdirSync(at(name));
    await (await createRepository(new FileStore(at('store')), UNLOCK)).close();
    writeFileSync(at('termination-log'), '');
  });
  afterEach(() => {
    dir.rm();
  });

  function writeTask(name: string, task: object): string {
    const common = {
      schema: 1,
      index: 0,
      volume: { claim: 'data-db-0', mode: 'filesystem' },
      store: { provider: 'file', path: at('store') },
    };
    writeFileSync(at(name), JSON.stringify({ ...common, unlock: formatKey(UNLOCK), ...task }));
    return at(name);
  }

  async function resultOf(operation: OperationId): Promise<MoverResult> {
    const repository = await openRepository(new FileStore(at('store')), UNLOCK);
    return moverResultSchema.parse(await repository.runs.get(operation, moverResultName({ index: 0 })));
  }

  async function run(taskFile: string): Promise<{ exitCode: number; lines: Record<string, unknown>[]; said: Record<string, unknown> }> {
    let output = '';
    const write = (line: string): void => {
      output += line;
    };
    const exitCode = await runMover({ taskFile, terminationLog: at('termination-log'), write, signal: never });
    const lines = output
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const log = readFileSync(at('termination-log'), 'utf8');
    assert.ok(!`${output}${log}`.includes(CANARY), 'contents of a volume in a log');
    assert.ok(!`${output}${log}`.includes(formatKey(UNLOCK)), 'a key in a log');
    assert.ok(log.length <= 4096);
    return { exitCode, lines, said: JSON.parse(log) as Record<string, unknown> };
  }

  async function captureSource(): Promise<MoverResult> {
    const operation = newOperationId();
    const { exitCode } = await run(writeTask('capture.json', { operation, direction: 'capture', path: at('source') }));
    assert.equal(exitCode, 0);
    return resultOf(operation);
  }

  it('captures and populates, tells its progress and leaves its result in the repository', async () => {
    writeFileSync(at('source/file'), Buffer.alloc(3_000_000, CANARY));
    const operation = newOperationId();
    const task = writeTask('capture.json', { operation, direction: 'capture', path: at('source') });
    const { lines, said } = await run(task);
    const result = await resultOf(operation);
    assert.deepEqual(
      [result.operation, result.index, result.files, result.entries, result.bytes, result.findings],
      [operation, 0, 1, 2, 3_000_000, []],
    );
    assert.ok(result.peakMemoryBytes > 10e6 && result.startedAt < result.finishedAt);
    assert.ok(lines.some(({ type, volume }) => type === 'bytes' && volume === 'data-db-0'));
    assert.deepEqual(said['root'], result.root);
    assert.deepEqual(said['findings'], 0);

    const restore = newOperationId();
    const populated = await run(
      writeTask('populate.json', { operation: restore, direction: 'populate', path: at('target'), root: result.root }),
    );
    assert.equal(populated.exitCode, 0);
    assert.equal((await resultOf(restore)).root, result.root);
    assert.deepEqual(await oracle.describe(at('target')), await oracle.describe(at('source')));
  });

  it('does a task once: asked again it gives the result that is there', async () => {
    writeFileSync(at('source/file'), 'one');
    const { root } = await captureSource();
    const operation = newOperationId();
    const task = writeTask('populate.json', { operation, direction: 'populate', path: at('target'), root });
    await run(task);
    const first = await resultOf(operation);
    // The target is in use by now.
    writeFileSync(at('target/new'), 'from the application');
    assert.equal((await run(task)).exitCode, 0);
    assert.deepEqual(await resultOf(operation), first);
    assert.deepEqual(readdirSync(at('target')), ['file', 'new']);
  });

  it('says why it failed in its last words, and exits with the code of the error', async () => {
    writeFileSync(at('source/file'), 'one');
    const { root } = await captureSource();
    writeFileSync(at('target/mine'), 'precious');
    const operation = newOperationId();
    const { exitCode, said, lines } = await run(writeTask('populate.json', { operation, direction: 'populate', path: at('target'), root }));
    assert.equal(exitCode, 40);
    const expected = {
      code: 'PREFLIGHT_FAILED',
      message: 'data-db-0: the volume is not empty',
      hint: 'restore into a new volume, or empty this one first',
    };
    assert.deepEqual(said, expected);
    assert.deepEqual(lines.at(-1), { type: 'error', ...expected });
  });

  for (const [what, text, exit] of [
    ['no JSON', `{"unlock": "${formatKey(UNLOCK)}", `, 2],
    ['another task', JSON.stringify({ schema: 2, unlock: formatKey(UNLOCK) }), 2],
  ] as const) {
    it(`refuses ${what} without repeating any of it`, async () => {
      writeFileSync(at('task.json'), text);
      const { exitCode, said } = await run(at('task.json'));
      assert.deepEqual([exitCode, said['code']], [exit, 'USAGE']);
    });
  }

  it('refuses a key of another repository', async () => {
    const task = writeTask('task.json', {
      operation: newOperationId(),
      direction: 'capture',
      path: at('source'),
      unlock: formatKey(Buffer.alloc(32, 9)),
    });
    const { exitCode, said } = await run(task);
    assert.deepEqual([exitCode, said['code']], [12, 'REPOSITORY_KEY']);
  });

  describe('as a process', () => {
    const children: ChildProcess[] = [];
    afterEach(() => {
      for (const child of children.splice(0)) child.kill('SIGKILL');
    });

    function start(taskFile: string): {
      readonly child: ChildProcess;
      readonly output: () => string;
      readonly exited: Promise<readonly [number | null, string | null]>;
    } {
      const child = spawn(process.execPath, [ENTRY, taskFile], { stdio: ['ignore', 'pipe', 'inherit'] });
      children.push(child);
      let output = '';
      child.stdout.on('data', (data: Buffer) => (output += data.toString()));
      return { child, output: () => output, exited: once(child, 'close') as Promise<[number | null, string | null]> };
    }

    async function until(what: () => boolean): Promise<void> {
      for (let i = 0; i < 600 && !what(); i++) await sleep(20);
      assert.ok(what(), 'did not happen within 12 s');
    }

    /** Many files, so that there is time to be killed among them. */
    function fill(): void {
      for (let i = 0; i < 40; i++) {
        mkdirSync(at(`source/d${String(i)}`));
        for (let j = 0; j < 25; j++)
          writeFileSync(at(`source/d${String(i)}/f${String(j)}`), Buffer.alloc(20_000 + i * j, `${String(i)} ${String(j)} `));
        writeFileSync(at(`source/d${String(i)}/large`), Buffer.alloc(1_500_000, `${String(i)} large `));
      }
    }

    it('A5: that is killed while it populates goes on when it is started again', async () => {
      fill();
      const { root } = await captureSource();
      const expected = await oracle.describe(at('source'));
      // Killed as soon as so many directories are there.
      for (const directories of [1, 15, 40]) {
        const target = at(`target-${String(directories)}`);
        mkdirSync(target);
        const operation = newOperationId();
        const task = writeTask('populate.json', { operation, direction: 'populate', path: target, root });
        const { child, exited } = start(task);
        await until(() => readdirSync(target).filter((name) => name.startsWith('d')).length >= directories || child.exitCode !== null);
        child.kill('SIGKILL');
        await exited;
        const again = start(task);
        assert.deepEqual(await again.exited, [0, null], again.output());
        assert.deepEqual(await oracle.describe(target), expected);
        assert.deepEqual((await resultOf(operation)).findings, []);
      }
    });

    it('A2: that is killed while it captures leaves what the next one goes on with', async () => {
      fill();
      const operation = newOperationId();
      const task = writeTask('capture.json', { operation, direction: 'capture', path: at('source') });
      const { child, exited } = start(task);
      await until(() => existsSync(at('store/packs')) || child.exitCode !== null);
      child.kill('SIGKILL');
      await exited;
      assert.equal((await run(task)).exitCode, 0);
      const { root, findings } = await resultOf(operation);
      assert.deepEqual(findings, []);
      const restore = writeTask('populate.json', { operation: newOperationId(), direction: 'populate', path: at('target'), root });
      assert.equal((await run(restore)).exitCode, 0);
      assert.deepEqual(await oracle.describe(at('target')), await oracle.describe(at('source')));
    });

    it('stops when it is told to', async () => {
      fill();
      const task = writeTask('capture.json', { operation: newOperationId(), direction: 'capture', path: at('source') });
      const { child, exited, output } = start(task);
      await until(() => output().includes('"bytes"'));
      child.kill('SIGTERM');
      assert.deepEqual(await exited, [130, null]);
      assert.match(output(), /"type":"error","code":"CANCELLED"/);
    });
  });
});
