import assert from 'node:assert/strict';
import { manyObjectsTable, measureManyObjects } from '../bench/many-objects.ts';
import { startCluster, type TestCluster } from '../support/cluster/cluster.ts';

const COUNT = 2000;

describe('a namespace of 2000 objects', function () {
  this.timeout(300_000);
  let lab: TestCluster;

  before(async () => {
    lab = await startCluster('source', { images: [] });
  });

  after(() => lab.stop());

  it('is found and planned in seconds, with a bounded number of requests', async () => {
    const measured = await measureManyObjects(lab, COUNT);
    console.log(manyObjectsTable(measured).replaceAll(/^/gm, '      '));
    const { objects, kinds, discovery, plan, planned } = measured;
    assert.ok(objects >= COUNT, String(objects));
    // One for each kind, further pages for those with many objects.
    assert.ok(discovery.requests <= kinds * 2 + 20, `${String(discovery.requests)} requests for ${String(kinds)} kinds`);
    const created = planned.steps.filter((s) => s.do === 'apply' && s.action === 'create');
    assert.ok(created.length >= COUNT, String(created.length));
    assert.deepEqual(
      planned.findings.filter((f) => f.level === 'blocker').map((f) => f.message),
      [],
    );
    assert.ok(plan.requests <= 300, `${String(plan.requests)} requests`);
    assert.ok(discovery.seconds < 30 && plan.seconds < 30);
  });
});
