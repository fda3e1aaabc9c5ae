/** Run as a process of its own, with SEED and NIGHTS: tells what is held after each night, as JSON. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { populateVolume } from '../../core/src/mover/populate.ts';
import { newOperationId } from '../../core/src/operation.ts';
import { LISTS } from '../../core/src/repository/protocol/tombstones.ts';
import { createRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import { FileStore } from '../../core/src/store/file.ts';
import { chooser, type Choose } from './interleaving.ts';
import { all, newBackup, operationOf, QUIET, SMALL, UNLOCK } from './repository.ts';
import type { Held } from './soak.ts';
import { recorder, scratch, settled, TreeOracle } from './volume.ts';

const FILES = 16;
const KEPT_BACKUPS = 8;
/** Nights after which all data have been verified. */
const MONTH = 30;
const DAY = 86_400_000;

/**
 * In each night some files change, a backup is made, one that is too many is deleted, what nothing needs is collected, a share of the data is verified; and, as a drill, one of the
 * backups that are kept is restored to a new directory, which must be what the source was in that backup's night, to the last attribute.
 */
async function runNights(seed: number, nights: number): Promise<readonly Held[]> {
  const choose = chooser(seed);
  const dir = scratch();
  const oracle = new TreeOracle();
  try {
    const world = new SoakWorld(dir.path, oracle, choose);
    await world.init();
    const held: Held[] = [];
    for (let night = 1; night <= nights; night++) {
      await world.night(night);
      held.push(await world.held());
    }
    return held;
  } finally {
    oracle.stop();
    dir.rm();
  }
}

class SoakWorld {
  readonly #source: string;
  readonly #target: string;
  readonly #bucket: string;
  readonly #store: FileStore;
  readonly #oracle: TreeOracle;
  readonly #choose: Choose;
  readonly #gc: () => void;
  /** What the source was in the night of each backup that is kept, by the backup's id. */
  readonly #expected = new Map<string, string>();

  constructor(directory: string, oracle: TreeOracle, choose: Choose) {
    this.#source = join(directory, 'source');
    this.#target = join(directory, 'target');
    this.#bucket = join(directory, 'bucket');
    this.#store = new FileStore(this.#bucket);
    this.#oracle = oracle;
    this.#choose = choose;
    setFlagsFromString('--expose-gc');
    this.#gc = runInNewContext('gc') as () => void;
  }

  async init(): Promise<void> {
    for (const path of [this.#source, this.#bucket]) mkdirSync(path);
    for (let i = 0; i < FILES; i++) this.#write(i);
    await (await createRepository(this.#store, UNLOCK, { parameters: SMALL })).close();
  }

  async night(night: number): Promise<void> {
    this.#passDay();
    this.#change();
    const repository = await openRepository(this.#store, UNLOCK);
    try {
      await this.#backUp(repository, night);
      const ids = [...this.#expected.keys()];
      // Any but the newest: retention keeps some that are old.
      if (ids.length > KEPT_BACKUPS) await this.#delete(repository, this.#pick(ids.slice(0, -1)));
      await repository.prune({}, QUIET);
      assert.deepEqual(await repository.verify('data', QUIET, { share: { part: (night % MONTH) + 1, of: MONTH } }), [], `night ${night}`);
      await this.#drill(repository, this.#pick([...this.#expected.keys()]));
    } finally {
      await repository.close();
    }
  }

  async held(): Promise<Held> {
    const objects = (await all(this.#store.list(''))).filter(({ key }) => !key.startsWith(LISTS));
    this.#gc();
    const { heapUsed, external } = process.memoryUsage();
    return {
      handles: process.getActiveResourcesInfo().length,
      threads: readdirSync('/proc/self/task').length,
      descriptors: readdirSync('/proc/self/fd').length,
      memoryBytes: heapUsed + external,
      objects: objects.length,
      storedBytes: objects.reduce((sum, { size }) => sum + size, 0),
    };
  }

  async #backUp(repository: Repository, night: number): Promise<void> {
    const [newest] = await all(repository.backups());
    await repository.begin(operationOf(night));
    await repository.runs.put(operationOf(night), 'result-0', { night });
    const parent = newest?.volumes[0]?.root;
    const volume = { name: 'data', mode: 'filesystem', path: this.#source, repository, now: settled } as const;
    const { root, findings } = await captureVolume(parent === undefined ? volume : { ...volume, parent }, recorder());
    assert.deepEqual(findings, []);
    const { id } = await repository.commit(newBackup(night, { manifests: root, volume: root }));
    this.#expected.set(id, await this.#state(this.#source));
  }

  async #delete(repository: Repository, id: string): Promise<void> {
    await repository.deleteBackup(id);
    this.#expected.delete(id);
  }

  async #drill(repository: Repository, id: string): Promise<void> {
    const { volumes } = await repository.backup(id);
    mkdirSync(this.#target);
    const volume = { name: 'data', mode: 'filesystem', path: this.#target, repository, root: volumes[0]!.root } as const;
    const { findings } = await populateVolume({ ...volume, operation: newOperationId(), allowDevices: true }, recorder());
    assert.deepEqual(findings, []);
    assert.equal(await this.#state(this.#target), this.#expected.get(id), `what ${id} restores`);
    rmSync(this.#target, { recursive: true });
  }

  async #state(directory: string): Promise<string> {
    return createHash('sha256')
      .update(JSON.stringify(await this.#oracle.describe(directory)))
      .digest('hex');
  }

  /** Everything in the bucket is a day older. */
  #passDay(): void {
    for (const entry of readdirSync(this.#bucket, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      const seconds = (statSync(path).mtimeMs - DAY) / 1000;
      utimesSync(path, seconds, seconds);
    }
  }

  /** A few files get another content, another mode, or another name and a successor. */
  #change(): void {
    for (let n = 1 + this.#choose(3); n > 0; n--) {
      const i = this.#choose(FILES);
      const path = this.#file(i);
      rmSync(`${path}.old`, { force: true });
      const deed = this.#choose(3);
      if (deed === 0) chmodSync(path, 0o600 + this.#choose(0o100));
      else if (deed === 1) this.#write(i);
      else {
        renameSync(path, `${path}.old`);
        this.#write(i);
      }
    }
  }

  #write(i: number): void {
    const bytes = Buffer.alloc(1000 + this.#choose(30_000));
    for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE(this.#choose(2 ** 32), at);
    writeFileSync(this.#file(i), bytes);
  }

  #file(i: number): string {
    return join(this.#source, `file-${i}`);
  }

  #pick(ids: readonly string[]): string {
    return ids[this.#choose(ids.length)]!;
  }
}

const [seed, nights] = process.argv.slice(2).map(Number) as [number, number];
console.log(JSON.stringify(await runNights(seed, nights)));
