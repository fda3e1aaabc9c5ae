import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import type { Backup } from '../../core/src/repository/records/backup-record.ts';
import { isFence } from '../../core/src/repository/protocol/fence.ts';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import type { ObjectStore } from '../../core/src/store/object-store.ts';
import { chooser, Interleaving, type Call, type Choose } from './interleaving.ts';
import {
  all,
  keysUnder,
  makeBackup,
  newBackup,
  operationOf,
  putBackup,
  QUIET,
  restoreBackup,
  seededRandom,
  SMALL,
  UNLOCK,
} from './repository.ts';
import { addCases } from './cases.ts';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const random = seededRandom(31);
/** What backups choose from, so that they share much and what one stops using another begins to. */
export const POOL = Array.from({ length: 16 }, (_, i) => Buffer.from(random(300 + 150 * i)));
/** What may become of a call without anything being wrong: the repository changed under it, or gave it up. */
const FAIR = new Set(['REPOSITORY_FENCED', 'BACKUP_NOT_FOUND']);

/** Calls with which something is decided: whoever is held before one leaves the most open. */
const DECISIONS: readonly ((call: Call) => boolean)[] = [
  ({ verb, key }) => verb === 'put' && key.startsWith('backups/'),
  ({ verb, key }) => verb === 'put' && key.startsWith('index/'),
  ({ verb, key }) => verb === 'put' && key.startsWith('gc/'),
  ({ body, key }) => body !== undefined && isFence(body) && key.startsWith('sessions/'),
  ({ body, key }) => body !== undefined && isFence(body) && !key.startsWith('sessions/'),
  ({ verb, key }) => verb === 'delete' && key.startsWith('packs/'),
  ({ verb, key }) => verb === 'delete' && key.startsWith('sessions/'),
  ({ verb, key }) => verb === 'list' && key === 'backups/',
];

export interface WorldOptions {
  readonly seed: number;
  readonly writers: number;
  readonly collectors: number;
  /** Backups of each writer, and collections of each collector. */
  readonly rounds: number;
  /** So many actors stop somewhere, and as many before something is decided; they go on when all others are done, and all that they seemed to leave behind is collected. */
  readonly held: number;
  /** Wraps every actor's store: what takes a rule of the protocol out. */
  readonly sabotage?: (store: ObjectStore, actor: string) => ObjectStore;
}

export interface WorldResult {
  readonly turns: number;
  readonly committed: number;
  readonly refused: number;
  /** That passed by the store's clock while everybody was at work. */
  readonly days: number;
}

/**
 * Writers, collectors and a deleter on one repository, in an order and with times between that the seed decides: minutes, or days. Then everybody who was held goes on. Fails when a
 * record exists whose backup does not restore, when a backup was reported that does not exist, or when garbage stays.
 */
export async function runWorld(opts: WorldOptions): Promise<WorldResult> {
  addCases(1);
  const choose = chooser(opts.seed);
  const world = new Interleaving(choose, (c) => [0, 1000, MINUTE, 20 * MINUTE, 40 * MINUTE, DAY][Math.max(0, c(60) - 54)] as number);
  const contents = new Map<string, readonly Uint8Array[]>();
  const reported = new Set<string>();
  const deleted = new Set<string>();
  let refused = 0;
  const sabotage = opts.sabotage ?? ((store: ObjectStore) => store);
  const store = (actor: string) => sabotage(world.store(actor), actor);
  await createRepository(world.memory, UNLOCK, { parameters: SMALL });
  const subset = (c: Choose) => POOL.filter(() => c(3) === 0);
  contents.set(operationOf(0), subset(choose));
  await makeBackup(await openRepository(world.memory, UNLOCK), 0, contents.get(operationOf(0)) ?? []);
  world.now += 2 * DAY;
  const began = world.now;

  const fair = async (work: () => Promise<void>) => {
    try {
      await work();
    } catch (e) {
      const isFair = DmaasError.is(e) && (FAIR.has(e.code) || e.message.includes('nothing was deleted'));
      if (!isFair) failures.push(e);
      refused++;
    }
  };
  const failures: unknown[] = [];
  const writer = async (w: number) => {
    for (let round = 0; round < opts.rounds; round++) {
      const n = 1 + w * opts.rounds + round;
      contents.set(operationOf(n), subset(choose));
      await fair(async () => {
        const repository = await openRepository(store(`writer ${w}`), UNLOCK);
        if (choose(2) === 0) await repository.begin(operationOf(n));
        // The mover is a process of its own, which opens the repository later.
        const mover = await openRepository(store(`writer ${w}`), UNLOCK);
        const roots = await mover.write((blobs) => putBackup(blobs, contents.get(operationOf(n)) ?? []));
        await repository.commit(newBackup(n, roots));
        reported.add(operationOf(n));
      });
    }
  };
  const collector = async (c: number) => {
    for (let round = 0; round < opts.rounds + 1; round++) {
      await fair(async () => {
        const repository = await openRepository(store(`collector ${c}`), UNLOCK);
        // Nothing is lost without any grace either.
        await repository.prune(choose(3) === 0 ? { graceMs: 0 } : {}, QUIET);
      });
    }
  };
  const deleter = async () => {
    for (let round = 0; round < opts.writers * opts.rounds; round++) {
      await fair(async () => {
        const repository = await openRepository(store('deleter'), UNLOCK);
        const backups = await all(repository.backups());
        const victim = backups[choose(Math.max(backups.length, 1))];
        if (victim === undefined) return;
        deleted.add(victim.operation);
        await repository.deleteBackup(victim.id);
      });
    }
  };

  for (let w = 0; w < opts.writers; w++) world.start(() => writer(w));
  for (let c = 0; c < opts.collectors; c++) world.start(() => collector(c));
  world.start(deleter);
  const holdAt = Array.from({ length: opts.held }, () => 20 + choose(300));
  const holdBefore = Array.from({ length: opts.held }, () => ({ isHere: DECISIONS[choose(DECISIONS.length)]!, calls: 1 + choose(4) }));
  const actors = [
    ...Array.from({ length: opts.writers }, (_, w) => `writer ${w}`),
    ...Array.from({ length: opts.collectors }, (_, c) => `collector ${c}`),
  ];
  world.onTurn = (turn) => {
    if (holdAt.includes(turn)) world.hold(actors[choose(actors.length)] as string);
  };
  world.onCall = (actor, call) => {
    for (const hold of holdBefore) if (actor !== 'deleter' && hold.isHere(call) && --hold.calls === 0) world.hold(actor);
  };
  await world.run();
  const days = (world.now - began) / DAY;
  // Who is held is taken for dead, and what it was about is collected.
  for (let n = 0; n < 3; n++) {
    world.now += 2 * DAY;
    await fair(async () => {
      await (await openRepository(sabotage(world.memory, 'collector'), UNLOCK)).prune({}, QUIET);
    });
  }
  world.now += 2 * DAY;
  world.release();
  await world.run();
  if (failures.length > 0) throw failures[0] as Error;

  await assertWhole(world, contents, reported, deleted);
  for (let n = 0; n < 4; n++) {
    world.now += 2 * DAY;
    await (await openRepository(world.memory, UNLOCK)).prune({}, QUIET);
  }
  await assertWhole(world, contents, reported, deleted);
  await assertNothingStays(world);
  return { turns: world.turns, committed: reported.size, refused, days };
}

/** Everything that is there, and all that was reported and nobody deleted, restores. */
export async function assertWhole(
  world: Interleaving,
  contents: ReadonlyMap<string, readonly Uint8Array[]>,
  reported: ReadonlySet<string>,
  deleted: ReadonlySet<string>,
): Promise<void> {
  const repository = await openRepository(world.memory, UNLOCK);
  const backups: Backup[] = await all(repository.backups());
  for (const backup of backups) assert.deepEqual(await restoreBackup(repository, backup), contents.get(backup.operation), backup.operation);
  const present = new Set(backups.map(({ operation }) => operation));
  for (const operation of reported) assert.ok(present.has(operation) || deleted.has(operation), `${operation} was reported and is gone`);
  const findings = await repository.verify('data', QUIET);
  assert.deepEqual(
    findings.filter(({ level }) => level === 'blocker'),
    [],
  );
}

/** When all backups are deleted, all space comes back. */
export async function assertNothingStays(world: Interleaving): Promise<void> {
  const repository = await openRepository(world.memory, UNLOCK);
  for (const { id } of await all(repository.backups())) await repository.deleteBackup(id);
  for (let n = 0; n < 4; n++) {
    world.now += 2 * DAY;
    await (await openRepository(world.memory, UNLOCK)).prune({}, QUIET);
  }
  assert.deepEqual(await keysUnder(world.memory, 'packs/'), []);
}
