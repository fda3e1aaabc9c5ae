import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { JobMover } from '../../core/src/mover/job-mover.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { refOf } from '../../core/src/model.ts';
import { LABELS } from '../../core/src/operation.ts';
import type { OperationId } from '../../core/src/operation.ts';
import { formatKey } from '../../core/src/repository/keys/keys.ts';
import { openOrCreateRepository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { populateVolumes } from '../../core/src/transfer/populate.ts';
import type { PopulateResult } from '../../core/src/transfer/populate.ts';
import { appVolume, claimObject } from '../support/application.ts';
import { losing } from '../support/damaged.ts';
import { FaultyCluster } from '../support/faulty-cluster.ts';
import { simulatedCluster } from '../support/simulated-cluster.ts';
import type { SimulationOptions } from '../support/simulated-cluster.ts';

const ID = 'abcdefgh' as OperationId;
const UNLOCK = new Uint8Array(32).fill(7);
const CLAIMS = ['a', 'b', 'c'];
const QUICK = { poll: 100, pending: 2000, imagePull: 50, outage: 5000, ending: 2000 };

describe('filling claims', () => {
  let directory: string;
  const store = new MemoryStore();
  let root: string;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'dmaas-test-populate-'));
    const source = join(directory, 'source');
    await mkdir(source);
    await writeFile(join(source, 'file'), 'content');
    const repository = await openOrCreateRepository(store, UNLOCK);
    ({ root } = await captureVolume({ name: 'source', path: source, mode: 'filesystem', repository }, { emit: () => undefined }));
    await repository.close();
  });

  after(() => rm(directory, { recursive: true }));

  let worlds = 0;
  function world({ isDamaged, ...sim }: Partial<SimulationOptions> & { readonly isDamaged?: () => Promise<boolean> } = {}) {
    const volumes = join(directory, `volumes-${worlds++}`);
    // Results are of one operation in one repository: each world has its own copy of that.
    const own = new MemoryStore();
    const copied = (async () => {
      for await (const { key } of store.list('')) await own.put(key, (await store.get(key))!);
    })();
    const open = async () => {
      await copied;
      return openOrCreateRepository(own, UNLOCK);
    };
    const cluster: MemoryCluster = simulatedCluster({
      volumes,
      repository: async () => ((await isDamaged?.()) === true ? losing(await open(), () => true) : open()),
      ...sim,
      options: { objects: CLAIMS.map((name) => claimObject(appVolume(name))) },
    });
    const run = async (
      seen = cluster as Parameters<typeof populateVolumes>[2]['cluster'],
      maxMovers = 2,
      allowMissing = false,
    ): Promise<readonly PopulateResult[]> => {
      const repository = await open();
      try {
        const { runs } = repository;
        const mover = new JobMover({ cluster: seen, runs, timing: QUICK });
        const items = CLAIMS.map((name, index) => ({
          claim: appVolume(name).claim,
          index,
          mode: 'filesystem' as const,
          root,
          profile: 'baseline' as const,
          identity: {},
          placement: {},
          allowMissing,
        }));
        const deps = {
          cluster: seen,
          mover,
          runs,
          store: { provider: 'file', path: '/nowhere' } as const,
          unlock: formatKey(UNLOCK),
          maxMovers,
        };
        return await populateVolumes(ID, items, deps, { emit: () => undefined });
      } finally {
        await repository.close();
      }
    };
    const contents = () => Promise.all(CLAIMS.map((name) => readFile(join(volumes, name, 'file'), 'utf8')));
    const names = async () => (await Promise.all(CLAIMS.map((name) => readdir(join(volumes, name))))).flat();
    const temporary = () => cluster.objects().filter((o) => o.metadata.labels?.[LABELS.role] !== undefined).length;
    return { cluster, run, contents, names, temporary };
  }

  it('gives back what was captured, in the order asked for, and removes the movers', async () => {
    const w = world();
    const results = await w.run();
    assert.deepEqual(
      results.map((r) => [r.claim.name, r.files, r.bytes, r.findings]),
      CLAIMS.map((name) => [name, 1, 7, []]),
    );
    assert.deepEqual(await w.contents(), ['content', 'content', 'content']);
    assert.equal(w.temporary(), 0);
  });

  it('is finished by the next process, whatever call the one before died at', async function () {
    this.timeout(240_000);
    for (let at = 1, done = false; !done; at++) {
      const w = world();
      const faulty = new FaultyCluster(w.cluster, { at, kind: 'crash-after' });
      await w.run(faulty.cluster).catch(() => undefined);
      done = faulty.calls.length < at;
      await w.cluster.settle();
      assert.equal((await w.run()).length, 3, faulty.calls[at - 1]);
      await w.cluster.settle();
      assert.deepEqual(await w.contents(), ['content', 'content', 'content']);
      assert.equal(w.temporary(), 0, faulty.calls[at - 1]);
    }
  });

  it('begins no more when one fails, says why, and goes on when run again', async () => {
    const fail = new Set(['b']);
    const started: string[] = [];
    const terminated = { exitCode: 44, message: JSON.stringify({ code: 'TIMEOUT', message: 'no answer', hint: 'look there' }) };
    const w = world({
      pod: ({ volume }) => {
        started.push(volume.claim);
        return fail.has(volume.claim) ? { phase: 'Failed', containerStatuses: [{ state: { terminated } }] } : undefined;
      },
    });
    await assert.rejects(w.run(w.cluster, 1), (e) => {
      assert.ok(DmaasError.is(e, 'MOVER_FAILED'), String(e));
      assert.match(e.message, /^the mover of claim b failed: .*; exit code 44; it said: no answer$/);
      assert.equal(e.hint, 'look there');
      return true;
    });
    assert.ok(!started.includes('c'));
    fail.clear();
    assert.equal((await w.run()).length, 3);
    assert.deepEqual(await w.contents(), ['content', 'content', 'content']);
  });

  describe('of which not everything can be restored', () => {
    const damaged = () => {
      const state = { isDamaged: true, movers: 0, onMover: () => Promise.resolve() };
      const isDamaged = async () => {
        const { isDamaged: isDamagedNow } = state;
        state.movers += 1;
        await state.onMover();
        return isDamagedNow;
      };
      const w = world({ isDamaged });
      const outcome = (results: readonly PopulateResult[]) =>
        results.map(({ isUnfinished = false, files, missing }) => ({ isUnfinished, files, missing: missing?.entries }));
      return { ...w, state, outcome, all: (each: object) => CLAIMS.map(() => each) };
    };
    const LACKING = { isUnfinished: true, files: 0, missing: 1 };
    const WITHOUT = { isUnfinished: false, files: 0, missing: 1 };
    const WHOLE = { isUnfinished: false, files: 1, missing: 0 };

    it('says so, and tries again when it is repeated, until all is there', async () => {
      const w = damaged();
      for (const movers of [3, 6]) {
        assert.deepEqual(w.outcome(await w.run()), w.all(LACKING));
        assert.deepEqual([w.state.movers, w.temporary()], [movers, 0]);
      }
      w.state.isDamaged = false;
      assert.deepEqual(w.outcome(await w.run()), w.all(WHOLE));
      assert.deepEqual(await w.contents(), ['content', 'content', 'content']);
      await w.run();
      assert.equal(w.state.movers, 9, 'what is whole was restored again');
    });

    it('are done without it when that is allowed, also after it was not', async () => {
      const w = damaged();
      await w.run();
      for (let i = 0; i < 2; i++) {
        assert.deepEqual(w.outcome(await w.run(w.cluster, 2, true)), w.all(WITHOUT));
        assert.equal(w.state.movers, 6);
      }
      assert.deepEqual(await w.names(), []);
    });

    for (const allowMissing of [false, true]) {
      it(`are let be while a mover of before still runs, and tried again then${allowMissing ? ', as it is allowed by now' : ''}`, async () => {
        const w = damaged();
        const running = Promise.withResolvers<undefined>();
        const over = Promise.withResolvers<undefined>();
        w.state.onMover = async () => {
          if (w.state.movers === 3) running.resolve(undefined);
          await over.promise;
        };
        const dying = new FaultyCluster(w.cluster);
        const first = w.run(dying.cluster, 3).catch(() => undefined);
        await running.promise;
        dying.crash();
        await first;
        const uids = () => w.cluster.objects().flatMap((o) => (o.kind === 'Job' ? [o.metadata.uid] : []));
        const before = uids();
        w.state.isDamaged = allowMissing;
        const following = new FaultyCluster(w.cluster);
        const second = w.run(following.cluster, 3, allowMissing);
        while (following.calls.filter((call) => call.startsWith('get') && call.includes('"Job"')).length < 12) await sleep(10);
        assert.deepEqual([uids(), w.state.movers], [before, 3]);
        over.resolve(undefined);
        assert.deepEqual(w.outcome(await second), w.all(allowMissing ? WITHOUT : WHOLE));
        assert.equal(w.state.movers, 6);
      });
    }
  });

  it('does not take another claim of the same name for the one it filled', async () => {
    const w = world();
    await w.run();
    await w.cluster.delete(appVolume('b').claim);
    w.cluster.put({ ...claimObject(appVolume('b')), metadata: { name: 'b', namespace: 'shop', uid: 'another' } });
    await assert.rejects(w.run(), (e) => {
      assert.ok(DmaasError.is(e, 'RESTORE_STEP_FAILED'));
      assert.equal(e.message, 'persistentvolumeclaim/b in namespace shop is not the claim that operation abcdefgh began to fill');
      return true;
    });
    await w.cluster.delete(appVolume('b').claim);
    await assert.rejects(
      w.run(),
      (e) => DmaasError.is(e, 'RESTORE_STEP_FAILED') && e.message.endsWith('b in namespace shop does not exist'),
    );
  });

  describe('whose mover is on a node that does not answer', () => {
    const podOf = (index: number): KubeObject => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: `earlier-${index}`,
        namespace: 'shop',
        labels: { 'batch.kubernetes.io/job-name': `dmaas-${ID}-mover-${index}` },
        deletionTimestamp: '2026-01-01T00:05:30Z',
      },
      spec: { nodeName: 'worker-2' },
      status: { phase: 'Running' },
    });
    const hasNotAnswered = (name: RegExp) => (e: unknown) => {
      assert.ok(DmaasError.is(e, 'TIMEOUT'), String(e));
      assert.match(
        e.message,
        /^the mover of claim b has not run for 2 s: its pod \S+ was to end by \S+, and node worker-2 has not answered$/,
      );
      assert.match(e.message, name);
      assert.match(e.hint ?? '', /surely off: kubectl delete node worker-2, or kubectl delete pod \S+ -n shop --force/);
      return true;
    };

    it('does not wait for ever', async () => {
      const lost = new Set(['b']);
      const w = world({ pod: ({ volume }) => (lost.has(volume.claim) ? { phase: 'Running' } : undefined) });
      w.cluster.onWrite(({ type, object }) => {
        if (type === 'deleted' || object.kind !== 'Pod' || object.metadata.deletionTimestamp !== undefined) return;
        if (!object.metadata.name.includes('-mover-1-') || !lost.has('b')) return;
        const { metadata, spec } = podOf(1);
        w.cluster.put({
          ...object,
          metadata: { ...object.metadata, deletionTimestamp: metadata.deletionTimestamp! },
          spec: { ...(object['spec'] as object), ...(spec as object) },
        });
      });
      await assert.rejects(w.run(), hasNotAnswered(/ its pod dmaas-abcdefgh-mover-1-1 /));
      await w.cluster.settle();
      assert.equal(w.temporary(), 0);
      lost.clear();
      assert.equal((await w.run()).length, 3);
      assert.deepEqual(await w.contents(), ['content', 'content', 'content']);
    });

    it('is not filled by a second one meanwhile', async () => {
      const started: string[] = [];
      const w = world({ pod: ({ volume }) => (started.push(volume.claim), undefined) });
      w.cluster.put(podOf(1));
      await assert.rejects(w.run(), hasNotAnswered(/ its pod earlier-1 /));
      assert.ok(!started.includes('b'));
      w.cluster.put({ ...podOf(1), status: { phase: 'Failed' } });
      assert.equal((await w.run()).length, 3);
      assert.deepEqual(await w.contents(), ['content', 'content', 'content']);
    });

    it('is filled as soon as that has ended', async () => {
      const started: string[] = [];
      const w = world({ pod: ({ volume }) => (started.push(volume.claim), undefined) });
      w.cluster.put(podOf(1));
      const run = w.run();
      await sleep(300);
      assert.ok(!started.includes('b'));
      await w.cluster.delete(refOf(podOf(1)));
      assert.equal((await run).length, 3);
    });
  });
});
