import assert from 'node:assert/strict';
import type { Access } from '../../core/src/cluster/cluster.ts';
import { KNOWN_KINDS } from '../../core/src/cluster/known-kinds.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { KEEPING } from '../../core/src/restore/kept-volumes.ts';
import { planNeeds, undoNeeds } from '../../core/src/restore/needs.ts';
import { preflightRestore } from '../../core/src/restore/preflight.ts';
import { applyRestore } from '../../core/src/restore/run.ts';
import { ClusterCrash, FaultyCluster } from '../support/faulty-cluster.ts';
import { BACKED_UP, CURRENT, inPlaceWorld } from '../support/in-place-world.ts';
import { kube, OPERATION, shop } from '../support/restore.ts';
import { fillingMover, MemoryJournal, playedCluster } from '../support/restore-cluster.ts';

const quiet = { emit: () => undefined };

/** From `grant` on a cluster refuses, and remembers, whatever was not granted. */
function guard() {
  let granted: ReadonlySet<string> | undefined;
  const refused: string[] = [];
  const before = (access: Access): void => {
    if (granted?.has(right(access)) !== false) return;
    refused.push(right(access));
    throw new DmaasError('CLUSTER_FORBIDDEN', `may not ${right(access)}`);
  };
  return { refused, before, grant: (needs: readonly Access[]) => void (granted = new Set(needs.map(right))) };
}

function right({ verb, group, resource, namespace = '*' }: Access): string {
  return `${verb} ${resource}.${group} in ${namespace}`;
}

describe('the rights that a restore asks for', () => {
  for (const options of [{ namespace: 'shop-dr' }, { conflict: 'overwrite' }] as const) {
    it(`are all that it takes, with ${JSON.stringify(options)}`, async () => {
      const { refused, before, grant } = guard();
      const objects = [kube('v1', 'ConfigMap', 'web-config', { data: { 'app.ini': 'other' } })];
      const cluster = playedCluster({ before, objects });
      const plan = await preflightRestore(OPERATION, shop(), cluster, { activate: true, allow: ['*'], ...options }, quiet);
      grant(planNeeds(plan, KNOWN_KINDS));
      await applyRestore(plan, { cluster, populate: fillingMover(), journal: new MemoryJournal() }, quiet);
      assert.deepEqual(refused, []);
    });
  }

  it('are all that one in place takes with its movers, whatever change it died at and was gone on from', async () => {
    for (let at = 1, done = false; !done; at++) {
      const { refused, before, grant } = guard();
      const world = await inPlaceWorld({ cluster: { before } });
      try {
        grant(planNeeds(world.plan, KNOWN_KINDS));
        const dying = new FaultyCluster(world.cluster, { at, kind: 'crash-after', ofWrites: true });
        await dies(world.restore(dying.cluster));
        done = dying.calls.length < at;
        await world.restore();
        assert.equal(await world.content(), BACKED_UP);
        assert.deepEqual(refused, [], dying.calls[at - 1]);
      } finally {
        await world.remove();
      }
    }
  });

  it('to go back behind it are all that this takes, but for what it only looks for', async () => {
    for (let at = 1, done = false; !done; at++) {
      const { refused, before, grant } = guard();
      const world = await inPlaceWorld({ cluster: { before }, binding: 'WaitForFirstConsumer' });
      try {
        await world.restore();
        grant([...undoNeeds(world.plan, KNOWN_KINDS), ...KEEPING, { verb: 'delete', group: '', resource: 'persistentvolumes' }]); // which is its controller's
        const dying = new FaultyCluster(world.cluster, { at, kind: 'crash-after', ofWrites: true });
        await dies(world.undo({}, dying.cluster));
        done = dying.calls.length < at;
        await world.undo();
        assert.equal(await world.content(), CURRENT);
        const changes = refused.filter((what) => !/^(get|list) /.test(what));
        assert.deepEqual(changes, [], dying.calls[at - 1]);
      } finally {
        await world.remove();
      }
    }
  });
});

function dies(work: Promise<unknown>): Promise<void> {
  return work.then(
    () => undefined,
    (e: unknown) => {
      assert.ok(e instanceof ClusterCrash || DmaasError.is(e), String(e));
    },
  );
}
