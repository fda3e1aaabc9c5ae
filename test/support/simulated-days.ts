import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import { KeyRing } from '../../core/src/repository/keys/key-ring.ts';
import type { Backup } from '../../core/src/repository/records/backup-record.ts';
import { createRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import type { ObjectStore } from '../../core/src/store/object-store.ts';
import { addCases } from './cases.ts';
import { assertNothingStays, assertWhole, POOL } from './collection-world.ts';
import { FaultyStore, StoreCrash, type Fault } from './faulty-store.ts';
import { chooser, Interleaving, type Choose } from './interleaving.ts';
import { all, newBackup, operationOf, putBackup, QUIET, restoreBackup, seededRandom, SMALL, UNLOCK } from './repository.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const random = seededRandom(37);
/** What happens to a process that has bad luck: at some call, once. */
const FAULTS: readonly Fault[] = [
  { kind: 'error' },
  { kind: 'lost-acknowledgement' },
  { kind: 'crash', when: 'before' },
  { kind: 'crash', when: 'after' },
];
/** What may become of a call without anything being wrong: the repository changed under it, or gave it up. */
const FAIR = new Set(['REPOSITORY_FENCED', 'BACKUP_NOT_FOUND', 'STORE_EXISTS']);
const TRIES = 4;
/** After which all is gone that nobody needs. */
const COLLECTIONS = 5;

export interface DaysResult {
  readonly turns: number;
  readonly backups: number;
  readonly restores: number;
  readonly deletes: number;
  readonly collections: number;
  readonly rotations: number;
  /** Of the store, that a process met. */
  readonly faults: number;
  /** Processes that died, and ones that stood still for a while. */
  readonly deaths: number;
  readonly pauses: number;
  /** Times that the clock of the store went back. */
  readonly jumpsBack: number;
  readonly days: number;
}

type Counts = { -readonly [K in keyof DaysResult]: DaysResult[K] };

/**
 * So many days of three writers and a collector on one repository, each doing one thing after the other, chosen at random by weight: backups, restores, deletes, verifying, repairs, collections with the usual grace
 * and without any, new key epochs. Each thing is done by a process of its own, some of which meet a call that fails, one whose answer is lost, or die; some stand still; and the store's clock goes forward in leaps, and back.
 * Fails when a backup that should exist does not restore, on its day or at the end, or when garbage stays.
 */
export async function simulateDays(seed: number, days: number): Promise<DaysResult> {
  addCases(1);
  const world = new DaysWorld(seed);
  return world.run(days);
}

class DaysWorld {
  readonly #choose: Choose;
  readonly #world: Interleaving;
  readonly #counts: Counts = {
    turns: 0,
    backups: 0,
    restores: 0,
    deletes: 0,
    collections: 0,
    rotations: 0,
    faults: 0,
    deaths: 0,
    pauses: 0,
    jumpsBack: 0,
    days: 0,
  };
  readonly #contents = new Map<string, readonly Uint8Array[]>();
  readonly #reported = new Set<string>();
  /** Somebody has asked for it. */
  readonly #deleted = new Set<string>();
  readonly #failures: unknown[] = [];
  #operations = 0;
  #end = Infinity;
  #working = 0;

  constructor(seed: number) {
    this.#choose = chooser(seed);
    this.#world = new Interleaving(this.#choose, (choose) => this.#passes(choose));
  }

  async run(days: number): Promise<DaysResult> {
    await createRepository(this.#world.memory, UNLOCK, { parameters: SMALL });
    const began = this.#world.now;
    this.#end = began + days * DAY;
    const actors = ['writer 0', 'writer 1', 'writer 2', 'collector'];
    this.#world.onTurn = (turn) => {
      if (this.#choose(150) === 0) {
        this.#counts.pauses++;
        this.#world.hold(actors[this.#choose(actors.length)] as string);
      }
      if (turn % 400 === 0) this.#world.release();
    };
    for (const actor of actors) this.#live(actor);
    while (this.#working > 0) {
      await this.#world.run();
      this.#world.release();
    }
    await this.#world.run();
    if (this.#failures.length > 0) throw this.#failures[0] as Error;
    this.#counts.days = (this.#world.now - began) / DAY;
    this.#counts.turns = this.#world.turns;
    await this.#assertWhole();
    for (let n = 0; n < COLLECTIONS; n++) {
      this.#world.now += 2 * DAY;
      await (await openRepository(this.#world.memory, UNLOCK)).prune({}, QUIET);
    }
    await this.#assertWhole();
    await assertNothingStays(this.#world);
    return this.#counts;
  }

  /** How the store's clock goes on from one call to the next. */
  #passes(choose: Choose): number {
    const chance = choose(1000);
    if (chance < 3) {
      this.#counts.jumpsBack++;
      return -[MINUTE, HOUR, 5 * HOUR][chance]!;
    }
    if (chance < 6) return [HOUR, 6 * HOUR, DAY][chance - 3]!;
    return [0, 0, 1000, MINUTE][chance % 4]!;
  }

  #live(actor: string): void {
    this.#working++;
    const work = async () => {
      while (this.#world.now < this.#end && this.#failures.length === 0) await this.#deed(actor);
    };
    this.#world.start(() =>
      work()
        .catch((e: unknown) => this.#failures.push(e))
        .finally(() => this.#working--),
    );
  }

  async #deed(actor: string): Promise<void> {
    const chance = this.#choose(100);
    if (actor === 'collector') {
      if (chance < 75) await this.#collect(actor);
      else if (chance < 85) await this.#try(actor, (repository) => repository.repair(QUIET));
      else if (chance < 95) await this.#delete(actor);
      else await this.#rotate(actor);
    } else if (chance < 55) await this.#backUp(actor);
    else if (chance < 75) await this.#restore(actor);
    else if (chance < 95) await this.#delete(actor);
    else await this.#try(actor, (repository) => repository.verify('structure', QUIET));
  }

  /** Tried again, with the same operation, until it is there, or has been tried often enough: then nobody goes on with it. */
  async #backUp(actor: string): Promise<void> {
    const n = ++this.#operations;
    const operation = operationOf(n);
    const contents = POOL.filter(() => this.#choose(3) === 0);
    this.#contents.set(operation, contents);
    for (let tries = 0; tries < TRIES && !this.#reported.has(operation); tries++) {
      await this.#fair(async () => {
        const repository = await openRepository(this.#process(actor), UNLOCK);
        if (this.#choose(2) === 0) await repository.begin(operation);
        // The mover is a process of its own, which opens the repository later, and dies for itself.
        const mover = await openRepository(this.#process(actor), UNLOCK);
        const roots = await mover.write((blobs) => putBackup(blobs, contents));
        await repository.commit(newBackup(n, roots));
        this.#reported.add(operation);
        this.#counts.backups++;
      });
    }
  }

  /** A restore can be unlucky several times, but not in the end when its backup is still there. */
  async #restore(actor: string): Promise<void> {
    let problem: unknown;
    for (let tries = 0; tries < TRIES; tries++) {
      let backup: Backup | undefined;
      await this.#fair(async () => {
        const repository = await openRepository(this.#process(actor), UNLOCK);
        const backups = await all(repository.backups());
        backup = backups[this.#choose(Math.max(backups.length, 1))];
        if (backup === undefined) return;
        const found = await restoreBackup(repository, backup).catch((e: unknown) => {
          if (!DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
          problem = e;
        });
        if (found === undefined) return;
        assert.deepEqual(found, this.#contents.get(backup.operation), `what ${backup.operation} restores`);
        problem = undefined;
        this.#counts.restores++;
      });
      if (problem === undefined || backup === undefined || this.#deleted.has(backup.operation)) return;
    }
    this.#failures.push(problem);
  }

  async #delete(actor: string): Promise<void> {
    await this.#try(actor, async (repository) => {
      const backups = await all(repository.backups());
      const victim = backups[this.#choose(Math.max(backups.length, 1))];
      if (victim === undefined) return;
      this.#deleted.add(victim.operation);
      await repository.deleteBackup(victim.id);
      this.#counts.deletes++;
    });
  }

  async #collect(actor: string): Promise<void> {
    await this.#try(actor, async (repository) => {
      const chance = this.#choose(4);
      // Nothing is lost without any grace either.
      await repository.prune(chance === 0 ? { graceMs: 0 } : { dryRun: chance === 1 }, QUIET);
      this.#counts.collections++;
    });
  }

  async #rotate(actor: string): Promise<void> {
    await this.#fair(async () => {
      const ring = await KeyRing.open(this.#process(actor), UNLOCK, random);
      await ring.rotate([], new Set());
      this.#counts.rotations++;
    });
  }

  async #try(actor: string, work: (repository: Repository) => Promise<unknown>): Promise<void> {
    await this.#fair(async () => work(await openRepository(this.#process(actor), UNLOCK)));
  }

  /** What a new process of this actor has for a store. One of three has bad luck. */
  #process(actor: string): ObjectStore {
    const rules = Array.from({ length: this.#choose(3) === 0 ? 1 + this.#choose(2) : 0 }, () => ({
      from: 1 + this.#choose(60),
      times: 1,
      fault: FAULTS[this.#choose(FAULTS.length)] as Fault,
    }));
    return new FaultyStore(
      this.#world.store(actor),
      rules.map((rule) => (rule.fault.kind === 'crash' ? { from: rule.from, fault: rule.fault } : rule)),
    );
  }

  async #fair(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (e) {
      if (e instanceof StoreCrash) this.#counts.deaths++;
      else if (DmaasError.is(e, 'STORE_UNAVAILABLE') && e.message.includes('injected')) this.#counts.faults++;
      else if (!DmaasError.is(e) || !(FAIR.has(e.code) || e.message.startsWith('nothing was deleted'))) this.#failures.push(e);
    }
  }

  #assertWhole(): Promise<void> {
    return assertWhole(this.#world, this.#contents, this.#reported, this.#deleted);
  }
}
