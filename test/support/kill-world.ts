import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { VolumeBrowser } from '../../core/src/mover/browse.ts';
import { parsePath } from '../../core/src/mover/paths.ts';
import { parseKey } from '../../core/src/repository/keys/keys.ts';
import { openRepository, type Repository } from '../../core/src/repository/repository.ts';
import type { S3Config } from '../../core/src/store/config.ts';
import type { ObjectInfo, ObjectStore } from '../../core/src/store/object-store.ts';
import { openStore } from '../../core/src/store/open.ts';
import { startFaultProxy, type HttpFault } from './fault-proxy.ts';
import { chooser, type Choose } from './interleaving.ts';
import { pluginWithoutCluster, type Plugin, type RunningPlugin } from './plugin.ts';
import { all, keysUnder, QUIET } from './repository.ts';
import { startMinio } from './stores/minio.ts';
import { addCases } from './cases.ts';

const BUCKET = 'backups';
const FILES = 6;
const DAY = 86_400_000;
/** How a process may end that was not killed: done, the store away for too long, given up by a collection, or (a collection) in doubt. */
const FAIR_EXITS = new Set([0, 3, 11, 22]);

export interface KillResult {
  readonly kills: number;
  readonly stops: number;
  readonly backups: number;
  readonly requests: number;
  readonly faults: number;
  /** In packs at the end, of what nothing needs. */
  readonly wasteBytes: number;
}

/**
 * Backups and collections as processes of their own, over a server that speaks S3 and a connection that breaks, killed at random moments until `kills` have been. Every backup that is recorded must restore to
 * what its directory held, and in the end all space must come back.
 */
export async function killAround(seed: number, kills: number): Promise<KillResult> {
  const choose = chooser(seed);
  const server = await startMinio();
  await server.createBucket(BUCKET);
  const proxy = await startFaultProxy(server.endpoint);
  const plugin = await pluginWithoutCluster();
  const credentials = { accessKeyId: server.accessKey, secretAccessKey: server.secretKey };
  const config = { provider: 's3', bucket: BUCKET, prefix: 'r', endpoint: server.endpoint, region: server.region, credentials } as const;
  const store = await openStore(config satisfies S3Config);
  try {
    const world = new KillWorld(plugin, proxy.url, store, choose, {
      id: server.accessKey,
      secret: server.secretKey,
      region: server.region,
    });
    await world.init();
    let faults = 0;
    let burstUntil = 0;
    proxy.fault = () => {
      const fault = toxic(choose, Date.now() < burstUntil);
      if (fault?.kind === 'answer' && Date.now() >= burstUntil) burstUntil = Date.now() + 300;
      if (fault !== undefined) faults++;
      return fault;
    };
    while (world.kills < kills) await world.round();
    addCases(world.kills);
    proxy.fault = () => undefined;
    const { backups, wasteBytes } = await world.settle();
    return { kills: world.kills, stops: world.stops, backups, requests: proxy.requests.length, faults, wasteBytes };
  } finally {
    await store.close();
    await plugin.remove();
    await proxy.close();
    await server.stop();
  }
}

function toxic(choose: Choose, isBurst: boolean): HttpFault | undefined {
  if (isBurst) return choose(3) === 0 ? undefined : { kind: 'answer', status: 503, headers: { 'retry-after': '0' } };
  const dice = choose(200);
  if (dice < 3) return { kind: 'drop' };
  if (dice < 6) return { kind: 'lose-answer' };
  if (dice < 8) return { kind: 'cut' };
  if (dice < 9) return { kind: 'answer', status: 503 };
  if (dice < 10) return { kind: 'slow', bytesPerSecond: 200_000, latencyMs: 100 };
  return undefined;
}

class KillWorld {
  kills = 0;
  stops = 0;
  readonly #plugin: Plugin;
  readonly #url: string;
  readonly #store: ObjectStore;
  readonly #choose: Choose;
  readonly #env: Readonly<Record<string, string>>;
  /** SHA-256 of each file, for each recorded backup. */
  readonly #expected = new Map<string, readonly string[]>();
  #state: string[] = [];
  readonly #region: string;
  /** Longest time that a backup took undisturbed; kills fall within. */
  #lifeMs = 2000;

  constructor(plugin: Plugin, url: string, store: ObjectStore, choose: Choose, access: { id: string; secret: string; region: string }) {
    this.#plugin = plugin;
    this.#url = url;
    this.#store = store;
    this.#choose = choose;
    this.#region = access.region;
    this.#env = { AWS_ACCESS_KEY_ID: access.id, AWS_SECRET_ACCESS_KEY: access.secret };
  }

  async init(): Promise<void> {
    mkdirSync(join(this.#plugin.home, 'source'));
    for (let i = 0; i < FILES; i++) this.#change(i);
    await this.#must('repository', 'init');
    const began = Date.now();
    await this.#must('volume', 'backup', 'source');
    this.#lifeMs = Date.now() - began;
    await this.#learn();
  }

  /** One backup and, often, one collection beside it; each may be killed, or stand still for a while. */
  async round(): Promise<void> {
    for (let i = 0; i < FILES; i++) if (this.#choose(3) === 0) this.#change(i);
    const actors = [this.#live('volume', 'backup', 'source')];
    if (this.#choose(2) === 0) actors.push(this.#live('repository', 'prune', '--grace', '0m'));
    await Promise.all(actors);
    await this.#learn();
    if (this.#choose(3) > 0) return;
    const repository = await this.#open();
    const backups = await all(repository.backups());
    const victim = backups[this.#choose(backups.length || 1)];
    if (victim !== undefined && backups.length > 2) await repository.deleteBackup(victim.id);
    await repository.close();
  }

  /** Everything is whole; the next runs succeed without help; and in the end the space comes back. */
  async settle(): Promise<{ backups: number; wasteBytes: number }> {
    await this.#must('volume', 'backup', 'source');
    await this.#learn();
    const backups = await this.#check(await this.#open());
    // Two days later by the store's clock: what was killed is silent for good.
    let aged = await agedStore(this.#store, 2 * DAY);
    for (let n = 0; n < 3; n++) {
      const repository = await this.#open(aged);
      await repository.prune({ graceMs: 0 }, QUIET);
      await repository.close();
      aged = await agedStore(this.#store, 2 * DAY);
    }
    await this.#check(await this.#open());
    const last = await this.#open(aged);
    const { totalBytes, condemn } = await last.prune({ dryRun: true, graceMs: 0 }, QUIET);
    const wasteBytes = condemn.reduce((sum, { bytes }) => sum + bytes, 0);
    assert.ok(wasteBytes <= totalBytes / 4, `${wasteBytes} of ${totalBytes} bytes are waste`);
    for (const { id } of await all(last.backups())) await last.deleteBackup(id);
    await last.close();
    for (let n = 0; n < 4; n++) {
      const repository = await this.#open(await agedStore(this.#store, 2 * DAY));
      await repository.prune({ graceMs: 0 }, QUIET);
      await repository.close();
    }
    assert.deepEqual(await keysUnder(this.#store, 'packs/'), [], 'all space comes back');
    return { backups, wasteBytes };
  }

  #change(i: number): void {
    const bytes = Buffer.alloc(100_000 + this.#choose(900_000));
    for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(this.#choose(2 ** 32), Math.min(at, bytes.length - 4));
    writeFileSync(join(this.#plugin.home, 'source', `file-${i}`), bytes);
    this.#state[i] = createHash('sha256').update(bytes).digest('hex');
  }

  async #live(...args: string[]): Promise<void> {
    const running = this.#plugin.start([...args, ...this.#where()], this.#env);
    const fate = this.#choose(4);
    const at = this.#choose(Math.round(this.#lifeMs * 1.1));
    if (fate < 3) await this.#disturb(running, at, fate === 2);
    const { code, stderr } = await running.ended;
    const isKilled = code === null;
    if (isKilled) this.kills++;
    assert.ok(
      isKilled || FAIR_EXITS.has(code) || /nothing was deleted/.test(stderr),
      `${args.join(' ')} ended with ${String(code)}: ${stderr}`,
    );
  }

  async #disturb(running: RunningPlugin, at: number, isStopped: boolean): Promise<void> {
    const hasEnded = await Promise.race([sleep(at, false), running.ended.then(() => true)]);
    if (hasEnded) return;
    if (isStopped) {
      this.stops++;
      running.signal('SIGSTOP');
      await sleep(this.#choose(1500));
      running.signal('SIGCONT');
      if (this.#choose(2) === 0) return;
      await sleep(this.#choose(300));
    }
    running.signal('SIGKILL');
  }

  /** Remembers what the directory held when new backups were made; also of those whose process did not live to say so. */
  async #learn(): Promise<void> {
    const repository = await this.#open();
    for (const { id } of await all(repository.backups())) if (!this.#expected.has(id)) this.#expected.set(id, [...this.#state]);
    await repository.close();
  }

  async #check(repository: Repository): Promise<number> {
    const backups = await all(repository.backups());
    for (const backup of backups) {
      const browser = await VolumeBrowser.open(repository, backup.volumes[0]!.root);
      for (const [i, wanted] of this.#expected.get(backup.id)!.entries()) {
        const hash = createHash('sha256');
        for await (const part of browser.readFile(parsePath(`file-${i}`))) hash.update(part);
        assert.equal(hash.digest('hex'), wanted, `${backup.id}: file-${i}`);
      }
    }
    assert.deepEqual(
      (await repository.verify('data', QUIET)).filter(({ level }) => level === 'blocker'),
      [],
    );
    await repository.close();
    return backups.length;
  }

  async #must(...args: string[]): Promise<void> {
    const { code, stderr } = await this.#plugin.run([...args, ...this.#where()], this.#env);
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
  }

  #where(): string[] {
    return [
      '--repository',
      `s3://${BUCKET}/r`,
      '--endpoint',
      this.#url,
      '--region',
      this.#region,
      '--key-file',
      join(this.#plugin.home, 'key'),
    ];
  }

  #open(store = this.#store): Promise<Repository> {
    return openRepository(store, parseKey(readFileSync(join(this.#plugin.home, 'key'), 'utf8')));
  }
}

/** The same store, when so much time has passed: what is there now is so much older; what comes is new. */
async function agedStore(store: ObjectStore, ms: number): Promise<ObjectStore> {
  const old = new Set(await keysUnder(store, ''));
  const aged = (info: ObjectInfo): ObjectInfo =>
    old.has(info.key) ? { ...info, modifiedAt: new Date(info.modifiedAt.getTime() - ms) } : info;
  return {
    location: store.location,
    put: (...args) => store.put(...args),
    get: (...args) => store.get(...args),
    stat: async (...args) => {
      const info = await store.stat(...args);
      return info && aged(info);
    },
    async *list(...args) {
      for await (const info of store.list(...args)) yield aged(info);
    },
    delete: (...args) => store.delete(...args),
    close: () => Promise.resolve(),
  };
}
