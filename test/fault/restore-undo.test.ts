import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { numberAt } from '../../core/src/discovery/read.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { KEPT } from '../../core/src/restore/kept-volumes.ts';
import { ClusterCrash, FaultyCluster } from '../support/faulty-cluster.ts';
import { BACKED_UP, CURRENT, inPlaceWorld } from '../support/in-place-world.ts';
import type { InPlaceWorld, WorldOptions } from '../support/in-place-world.ts';

const OLD = 'pv-data-db-0';
const SET = { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', namespace: 'shop' };
const NO_PATCH = { forbid: [{ verb: 'patch', resource: 'persistentvolumes' }] };

describe('going back behind a restore in place', () => {
  const worlds: InPlaceWorld[] = [];
  const restored = async (options: WorldOptions = {}): Promise<InPlaceWorld> => {
    const world = await inPlaceWorld(options);
    worlds.push(world);
    await world.restore();
    assert.equal(await world.content(), BACKED_UP);
    return world;
  };
  afterEach(() => Promise.all(worlds.splice(0).map((world) => world.remove())));

  for (const binding of ['Immediate', 'WaitForFirstConsumer'] as const) {
    it(`works with a driver whose snapshots go with their volumes (${binding})`, async () => {
      const world = await restored({ binding, snapshotsDie: true });
      assert.deepEqual((await world.undo()).findings, []);
      await isThrough(world);
    });

    it(`that died at any change is completed by the next process, and never both states are gone (${binding})`, async () => {
      for (const kind of ['crash-before', 'crash-after'] as const) {
        for (let at = 1, done = false; !done; at++) {
          const world = await restored({ binding, snapshotsDie: true });
          const dying = new FaultyCluster(world.cluster, { at, kind, ofWrites: true });
          await world.undo({}, dying.cluster).catch((e: unknown) => {
            assert.ok(e instanceof ClusterCrash || DmaasError.is(e), String(e));
          });
          done = dying.calls.length < at;
          await world.cluster.settle();
          const isOldThere = existsSync(world.storage.path(OLD));
          assert.ok(isOldThere || (await world.content()) === CURRENT, dying.calls[at - 1]);
          await world.undo();
          await isThrough(world);
        }
      }
    });
  }

  it('keeps the volume that is there when the one from the volume snapshot is not made, says so, and goes on', async () => {
    const world = await restored({ readyTimeoutMs: 200 });
    world.storage.isFull = true;
    await assert.rejects(world.undo(), (e) => {
      assert.ok(DmaasError.is(e, 'RESTORE_STEP_FAILED'), String(e));
      assert.match(e.message, /^statefulset\/db is not ready, now that its claims were put back: /);
      const goOn = /go on with "kubectl dmaas restore undo abcdefgh"; what was there before it is kept in persistentvolume\/pv-data-db-0$/;
      assert.match(e.hint ?? '', goOn);
      return true;
    });
    assert.deepEqual(world.storage.volumes(), [`${OLD} Retain`]);
    assert.equal(await readFile(join(world.storage.path(OLD), 'file'), 'utf8'), BACKED_UP);
    world.storage.isFull = false;
    await world.undo();
    await isThrough(world);
  });

  it('waits for the first pod of what it has started, and of which nobody knows when it is ready', async () => {
    const world = await restored({ binding: 'WaitForFirstConsumer', lateMs: 100 });
    assert.ok(world.plan.steps.every((step) => step.do !== 'wait-ready'));
    assert.deepEqual((await world.undo()).findings, []);
    await isThrough(world);
  });

  it('keeps it as long as nothing uses a claim that gets its volume with its first pod, and lets it go when the restore is deleted', async () => {
    const world = await restored({ binding: 'WaitForFirstConsumer', replicas: 0 });
    const { findings } = await world.undo();
    assert.deepEqual(
      findings.map((f) => [f.level, f.message, f.hint]),
      [
        [
          'warning',
          `persistentvolume/${OLD}, which claim data-db-0 had before it was put back, is kept: the claim made from its volume snapshot has no volume yet`,
          `when the claim is bound, this lets it go: kubectl patch persistentvolume ${OLD} --type merge -p '{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}' --context prod`,
        ],
      ],
    );
    assert.deepEqual(world.storage.volumes(), [`${OLD} Retain`]);
    assert.equal(await world.status(), 'Undone');
    await world.cluster.patch(SET, { spec: { replicas: 1 } });
    await world.cluster.settle();
    assert.equal(await world.content(), CURRENT);
    assert.deepEqual((await world.delete()).findings, []);
    await isThrough(world);
  });

  it('does not begin without the right to keep volumes, unless that is accepted', async () => {
    const world = await restored({ cluster: NO_PATCH });
    assert.deepEqual(
      world.plan.findings.map((f) => [f.level, f.message, f.hint]),
      [['info', 'this identity may not patch persistentvolumes, which "restore undo" takes', 'kubectl auth can-i patch persistentvolumes']],
    );
    const before = world.cluster.objects();
    await assert.rejects(world.undo(), (e) => {
      assert.ok(DmaasError.is(e, 'PREFLIGHT_FAILED'), String(e));
      const says =
        'you may not patch persistentvolumes, so that of claim data-db-0 would go before the one from its volume snapshot is there';
      assert.deepEqual([e.message, e.hint], [says, 'let somebody undo it who may, or take the risk with --delete-first']);
      return true;
    });
    assert.deepEqual(world.cluster.objects(), before, 'nothing was stopped');
    assert.deepEqual((await world.undo({ deleteFirst: true })).findings, []);
    await isThrough(world);
  });

  it('takes no such right for a volume that stays by itself, which is named', async () => {
    const world = await restored({ cluster: NO_PATCH, policy: 'Retain' });
    assert.deepEqual(
      (await world.undo()).findings.map((f) => [f.level, f.code, f.ref?.name]),
      [['info', 'volume-left', OLD]],
    );
    assert.equal(await world.content(), CURRENT);
  });

  it('does not stop what it may not start again, nor begin what it may not end', async () => {
    const world = await restored({ cluster: { forbid: [{ verb: 'delete', resource: 'persistentvolumeclaims' }] } });
    const message = 'you may not delete persistentvolumeclaims, which going back takes';
    await assert.rejects(world.undo(), (e) => DmaasError.is(e, 'PREFLIGHT_FAILED') && e.message === message);
    assert.equal(numberAt(await world.cluster.get(SET), 'spec', 'replicas'), 1);
  });
});

/** The claim has what it had before, the workload runs, and nothing else is left. */
async function isThrough(world: InPlaceWorld): Promise<void> {
  await world.cluster.settle();
  assert.equal(await world.content(), CURRENT);
  assert.equal(await world.status(), 'Undone');
  assert.equal(numberAt(await world.cluster.get(SET), 'status', 'readyReplicas'), 1);
  assert.equal(existsSync(world.storage.path(OLD)), false);
  const volumes = world.cluster.objects().filter((o) => o.kind === 'PersistentVolume');
  const isKept = ({ metadata }: KubeObject) => KEPT.label in (metadata.labels ?? {}) || KEPT.policy in (metadata.annotations ?? {});
  assert.deepEqual([volumes.length, volumes.some(isKept)], [1, false]);
}
