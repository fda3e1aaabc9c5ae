import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { refName, refOf } from '../../core/src/model.ts';
import { ANNOTATIONS } from '../../core/src/operation.ts';
import { ClusterCrash, FaultyCluster } from '../support/faulty-cluster.ts';
import { BACKED_UP, inPlaceWorld } from '../support/in-place-world.ts';
import type { InPlaceWorld, WorldOptions } from '../support/in-place-world.ts';
import { kube } from '../support/restore.ts';

const INTRUDED = 'of somebody who started it meanwhile';

describe('a restore in place', () => {
  const worlds: InPlaceWorld[] = [];
  const made = async (options: WorldOptions = {}): Promise<InPlaceWorld> => {
    const world = await inPlaceWorld(options);
    worlds.push(world);
    return world;
  };
  afterEach(() => Promise.all(worlds.splice(0).map((world) => world.remove())));

  it('that died at any change, and after which somebody wrote to the volume, rewrites that too, with one mover at a time', async () => {
    let again = 0;
    for (let at = 1, done = false; !done; at++) {
      const world = await made();
      const dying = new FaultyCluster(world.cluster, { at, kind: 'crash-after', ofWrites: true });
      await dies(world.restore(dying.cluster));
      done = dying.calls.length < at;
      await world.cluster.settle();
      const isFinished = isRewritten(world);
      await world.write(INTRUDED);
      const before = world.movers.count;
      await world.restore();
      // What was finished is in use, and nobody's to rewrite.
      assert.equal(await world.content(), isFinished ? INTRUDED : BACKED_UP, dying.calls[at - 1]);
      assert.equal(world.movers.atOnce, 1);
      if (before > 0 && world.movers.count > before) again += 1;
      assert.deepEqual(leftovers(world), []);
    }
    assert.ok(again > 0, 'none died between the end of a mover and its mark');
  });

  for (const kind of ['crash-before', 'crash-after'] as const) {
    it(`whose second process died too (${kind}) is completed by the third`, async () => {
      const whole = await made();
      const { cluster, calls } = new FaultyCluster(whole.cluster, { at: 0, kind, ofWrites: true });
      await whole.restore(cluster);
      const collected = calls.findIndex((call) => call.startsWith('delete') && call.includes('"Job"')) + 1;
      for (let at = 1, done = false; !done; at++) {
        const world = await made();
        await dies(world.restore(new FaultyCluster(world.cluster, { at: collected, kind: 'crash-before', ofWrites: true }).cluster));
        assert.deepEqual([world.movers.count, isRewritten(world)], [1, false]);
        await world.write(INTRUDED);
        const dying = new FaultyCluster(world.cluster, { at, kind, ofWrites: true });
        await dies(world.restore(dying.cluster));
        done = dying.calls.length < at;
        await world.cluster.settle();
        await world.restore();
        assert.equal(await world.content(), BACKED_UP, dying.calls[at - 1]);
        assert.equal(world.movers.atOnce, 1);
        assert.deepEqual(leftovers(world), []);
      }
    });
  }

  it('whose volume somebody used meanwhile is gone on with when they have stopped: what they wrote is not taken for the backup', async () => {
    const pod = kube('v1', 'Pod', 'intruder', {
      spec: { containers: [], volumes: [{ name: 'd', persistentVolumeClaim: { claimName: 'data-db-0' } }] },
    });
    const use = (phase: string) => world.cluster.put({ ...pod, status: { phase } });
    let isIntruding = true;
    const world = await made({
      onRewritten: async () => {
        if (isIntruding) use('Running');
        await Promise.resolve();
      },
    });
    await assert.rejects(world.restore(), /pod\/intruder used the volumes while they were rewritten/);
    await world.write(INTRUDED);
    isIntruding = false;
    use('Succeeded');
    await world.restore();
    assert.equal(await world.content(), BACKED_UP);
  });

  it('lets a mover end that still runs when it is gone on with, undisturbed, and compares what it left', async () => {
    const working = new Pause();
    const world = await made({ onRewritten: () => working.pass() });
    const dying = new FaultyCluster(world.cluster);
    const first = dies(world.restore(dying.cluster));
    await working.reached;
    dying.crash();
    await first;
    await world.write(INTRUDED);
    const jobs = () => world.cluster.objects().filter((o) => o.kind === 'Job');
    const [uid] = jobs().map((o) => o.metadata.uid);
    const following = new FaultyCluster(world.cluster);
    const second = world.restore(following.cluster);
    while (following.calls.filter((call) => call.startsWith('get') && call.includes('"Job"')).length < 3) await sleep(10);
    assert.deepEqual(
      jobs().map((o) => o.metadata.uid),
      [uid],
      'it is still the same',
    );
    working.end();
    await second;
    assert.equal(await world.content(), BACKED_UP);
    assert.deepEqual(world.movers, { count: 2, atOnce: 1 });
    assert.deepEqual(leftovers(world), []);
  });

  it('that could not restore a file starts nothing, and tries that again when it is gone on with', async () => {
    let isDamaged = true;
    const world = await made({ isDamaged: () => isDamaged });
    for (let i = 1; i <= 2; i++) {
      await assert.rejects(world.restore(), (e) => {
        assert.ok(DmaasError.is(e, 'RESTORE_STEP_FAILED'), String(e));
        assert.equal(e.message, 'claim data-db-0 lacks 1 file of the backup: file');
        return true;
      });
      assert.deepEqual([phaseOf(world), isRewritten(world), world.movers.count], ['Succeeded', false, i]);
    }
    isDamaged = false;
    await world.restore();
    assert.deepEqual([await world.content(), phaseOf(world), isRewritten(world)], [BACKED_UP, 'Running', true]);
    assert.deepEqual(leftovers(world), []);
  });

  it('that could not restore a file goes on without it when that is allowed', async () => {
    const world = await made({ isDamaged: () => true });
    await assert.rejects(world.restore(), (e) => DmaasError.is(e, 'RESTORE_STEP_FAILED'));
    const { missingFiles, findings } = await world.restore(undefined, undefined, { allowMissingFiles: true });
    assert.deepEqual([missingFiles, findings.map(({ code }) => code)], [1, ['entry-not-restored']]);
    assert.deepEqual([phaseOf(world), isRewritten(world), world.movers.count], ['Running', true, 2]);
    assert.deepEqual(leftovers(world), []);
  });

  it('by two processes starts nothing before the last one has rewritten', async () => {
    const world = await made();
    const marking = new Pause();
    const first = world.restore(pausing(world.cluster, marking, isMark));
    await marking.reached;
    // The first has seen its mover end, and is about to say so; the other takes over, and is done.
    await world.write(INTRUDED);
    await world.restore();
    marking.end();
    await first;
    assert.deepEqual([await world.content(), world.movers.atOnce], [BACKED_UP, 1]);
  });

  it('by two processes is not said to be done while the other rewrites', async () => {
    const marking = new Pause();
    const working = new Pause();
    const world = await made({ onRewritten: () => (marking.isReached ? working.pass() : Promise.resolve()) });
    const first = world.restore(pausing(world.cluster, marking, isMark));
    await marking.reached;
    const second = world.restore();
    await working.reached;
    marking.end();
    await assert.rejects(first, (e) => {
      assert.ok(DmaasError.is(e, 'RESTORE_STEP_FAILED'));
      assert.equal(e.message, 'another process goes on with this restore, and rewrites claim data-db-0 again');
      return true;
    });
    assert.equal(phaseOf(world), 'Succeeded', 'the workload stands still');
    working.end();
    await second;
    assert.deepEqual([isRewritten(world), phaseOf(world), world.movers.atOnce], [true, 'Running', 1]);
  });

  it('by two processes keeps the mover of the one when the other is stopped', async () => {
    const turns = [new Pause(), new Pause()];
    const world = await made({ onRewritten: () => turns[world.movers.count - 1]?.pass() ?? Promise.resolve() });
    const looking = new Pause();
    const stop = new AbortController();
    const first = world.restore(
      pausing(world.cluster, looking, (verb, [of]) => verb === 'get' && isJob(of) && turns[0]?.isReached === true),
      stop.signal,
    );
    await turns[0]?.reached;
    await looking.reached;
    const second = world.restore();
    turns[0]?.end();
    await turns[1]?.reached;
    stop.abort();
    looking.end();
    await assert.rejects(first, (e) => DmaasError.is(e, 'CANCELLED'));
    assert.ok(world.cluster.objects().some(isJob));
    turns[1]?.end();
    await second;
    assert.deepEqual([isRewritten(world), world.movers], [true, { count: 2, atOnce: 1 }]);
  });
});

function find(world: InPlaceWorld, name: string) {
  return world.cluster.objects().find((o) => refName(refOf(o)) === name) ?? assert.fail(`no ${name}`);
}

function phaseOf(world: InPlaceWorld): unknown {
  return (find(world, 'pod/db-0')['status'] as { phase?: string }).phase;
}

function isRewritten(world: InPlaceWorld): boolean {
  return find(world, 'persistentvolumeclaim/data-db-0').metadata.annotations?.[ANNOTATIONS.rewritten] === world.plan.id;
}

/** Movers and marks that are not there to stay. */
function leftovers(world: InPlaceWorld): string[] {
  const { annotations = {} } = find(world, 'persistentvolumeclaim/data-db-0').metadata;
  const movers = world.cluster.objects().filter((o) => o.metadata.labels?.['dmaas.io/role'] !== undefined);
  return [...movers.map((o) => refName(refOf(o))), ...(ANNOTATIONS.rewriting in annotations ? [ANNOTATIONS.rewriting] : [])];
}

function dies(work: Promise<unknown>): Promise<void> {
  return work.then(
    () => undefined,
    (e: unknown) => {
      assert.ok(e instanceof ClusterCrash || DmaasError.is(e), String(e));
    },
  );
}

/** A place where somebody stops until told to go on. */
class Pause {
  isReached = false;
  readonly #reached = Promise.withResolvers<undefined>();
  readonly #over = Promise.withResolvers<undefined>();

  get reached(): Promise<undefined> {
    return this.#reached.promise;
  }

  async pass(): Promise<void> {
    this.isReached = true;
    this.#reached.resolve(undefined);
    await this.#over.promise;
  }

  end(): void {
    this.#over.resolve(undefined);
  }
}

const isMark = (verb: string, args: readonly unknown[]): boolean =>
  verb === 'patch' && JSON.stringify(args[1]).includes(ANNOTATIONS.rewritten);
const isJob = (of: unknown): boolean => (of as { readonly kind?: string }).kind === 'Job';

/** What a process sees of the cluster that stops before such a call. */
function pausing(cluster: Cluster, pause: Pause, where: (verb: string, args: readonly unknown[]) => boolean): Cluster {
  return new Proxy(cluster, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function') return member;
      const bound = member.bind(target) as (...args: unknown[]) => unknown;
      if (name === 'list' || name === 'logs') return bound;
      return async (...args: unknown[]) => {
        if (where(String(name), args)) await pause.pass();
        return bound(...args);
      };
    },
  });
}
