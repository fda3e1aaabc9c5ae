import assert from 'node:assert/strict';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { tryMoversAndStore } from '../../core/src/restore/trials.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { emptyTarget, plan, shop } from '../support/restore.ts';

const quiet = { emit: () => undefined };
const made = plan(shop(), emptyTarget(), { activate: true, namespace: 'copy' });

/** What a restore needs besides its objects. */
describe('trying movers and the bucket before a restore', () => {
  const pods: string[] = [];
  const cluster = (refuses = false) =>
    new MemoryCluster({
      objects: [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'copy' } }],
      before: ({ verb, resource }) => {
        if (verb !== 'create' || resource !== 'pods') return;
        pods.push(resource);
        if (refuses) throw new DmaasError('CLUSTER_REJECTED', 'exceeded quota: small');
      },
    });
  const tried = async (deps: Partial<Parameters<typeof tryMoversAndStore>[2]> = {}, hasNamespace = true) =>
    (await tryMoversAndStore(made, hasNamespace, { cluster: cluster(), objects: new MemoryStore(), moverOptions: {}, ...deps }, quiet)).map(
      ({ level, code, hint = '' }) => `${level} ${code}: ${hint}`,
    );
  beforeEach(() => {
    pods.length = 0;
  });

  it('finds nothing where all is well, and leaves nothing', async () => {
    const objects = new MemoryStore();
    assert.deepEqual(await tried({ objects }), []);
    for await (const { key } of objects.list('')) assert.fail(key);
    assert.equal(pods.length, 2, 'one for each kind of mover');
  });

  it('finds that the namespace refuses movers, with a command', async () => {
    const [finding, ...others] = await tried({ cluster: cluster(true) });
    assert.equal(finding, 'blocker mover-refused: kubectl describe resourcequotas,limitranges -n copy --context dr');
    assert.deepEqual(others, [], 'both movers, for the same reason');
    assert.deepEqual(await tried({ cluster: cluster(true) }, false), [], 'the namespace is not there yet');
  });

  it('finds a bucket that takes no records, and a clock that is wrong', async () => {
    const objects = new MemoryStore();
    objects.put = () => Promise.reject(new DmaasError('STORE_ACCESS', 'no', { hint: 'a key that may write' }));
    assert.deepEqual(await tried({ objects }), ['blocker store-access: a key that may write']);
    const [finding = ''] = await tried({ now: () => new Date(Date.now() + 3_600_000) });
    assert.match(finding, /^warning clock-skew: set the clock/);
  });
});
