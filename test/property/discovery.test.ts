import assert from 'node:assert/strict';
import fc from 'fast-check';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { labelMatcher } from '../../core/src/cluster/selector.ts';
import { closure, graphOf, reach } from '../../core/src/discovery/closure.ts';
import { discover } from '../../core/src/discovery/discover.ts';
import { RULES, rulesFor } from '../../core/src/discovery/edges.ts';
import type { Target } from '../../core/src/discovery/edges.ts';
import { podTemplateOf } from '../../core/src/discovery/pod-template.ts';
import { applicationTree } from '../../core/src/discovery/tree.ts';
import type { TreeNode } from '../../core/src/discovery/tree.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { refKey, refOf } from '../../core/src/model.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { manifest, ownedBy, workload } from '../support/manifests.ts';

const NAMES = ['a', 'b', 'c', 'd'] as const;
const name = fc.constantFrom(...NAMES);
const some = fc.uniqueArray(name, { maxLength: 2 });

/** Objects of many kinds that refer to one another by a handful of names, so that chains, cycles and gaps are frequent. */
const anyObject: fc.Arbitrary<KubeObject> = fc.oneof(
  fc
    .record({
      kind: fc.constantFrom('Deployment', 'StatefulSet', 'CronJob'),
      own: name,
      claims: some,
      secrets: some,
      account: name,
      label: name,
    })
    .map((r) =>
      workload(
        r.kind,
        r.own,
        {
          serviceAccountName: r.account,
          volumes: [
            ...r.claims.map((claimName) => ({ name: claimName, persistentVolumeClaim: { claimName } })),
            ...r.secrets.map((secretName) => ({ name: secretName, secret: { secretName } })),
          ],
        },
        { labels: { tier: r.label }, metadata: { labels: { app: r.own } } },
      ),
    ),
  fc.record({ own: name, label: name }).map((r) => manifest('Service', r.own, { spec: { selector: { tier: r.label } } })),
  fc.record({ own: name, services: some, tls: some }).map((r) =>
    manifest('Ingress', r.own, {
      spec: {
        tls: r.tls.map((secretName) => ({ secretName })),
        rules: [{ http: { paths: r.services.map((service) => ({ backend: { service: { name: service } } })) } }],
      },
    }),
  ),
  fc.record({ own: name, accounts: some, role: name }).map((r) =>
    manifest('RoleBinding', r.own, {
      subjects: r.accounts.map((account) => ({ kind: 'ServiceAccount', name: account })),
      roleRef: { kind: 'Role', name: r.role },
    }),
  ),
  fc
    .record({ own: name, label: fc.option(name) })
    .map((r) => manifest('NetworkPolicy', r.own, { spec: { podSelector: r.label === null ? {} : { matchLabels: { tier: r.label } } } })),
  fc
    .record({
      kind: fc.constantFrom('Secret', 'ConfigMap', 'ServiceAccount', 'Role', 'PersistentVolumeClaim'),
      own: name,
      owner: fc.option(name),
    })
    .map((r) => manifest(r.kind, r.own, { metadata: r.owner === null ? {} : ownedBy(workload('Deployment', r.owner)) })),
);

const anyCluster = fc.uniqueArray(anyObject, { minLength: 1, maxLength: 25, selector: (o) => refKey(refOf(o)) });
const keys = (objects: readonly KubeObject[]) => objects.map((o) => refKey(refOf(o)));

describe('discovery: properties', () => {
  it('the answer does not depend on the order of the lists', async () => {
    const shuffled = anyCluster.chain((objects) =>
      fc.tuple(fc.constant(objects), fc.shuffledSubarray(objects, { minLength: objects.length })),
    );
    await fc.assert(
      fc.asyncProperty(shuffled, name, async ([objects, other], app) => {
        const find = async (list: readonly KubeObject[]) => {
          const cluster = new MemoryCluster({ objects: list.map(withUid) });
          // A server may list in any order it likes.
          const original = cluster.list.bind(cluster);
          cluster.list = async function* (kind, scope) {
            const found: KubeObject[] = [];
            for await (const object of original(kind, scope)) found.push(object);
            yield* list === other ? found.reverse() : found;
          };
          const found = await discover(cluster, { namespace: 'shop', labelSelector: `app=${app}` }, { emit: () => undefined }).catch(
            (e: unknown) => {
              if (DmaasError.is(e, 'APP_NOT_FOUND')) return undefined;
              throw e;
            },
          );
          return found && { ...found, members: found.members.map((m) => ({ ...m, object: refOf(m.object) })) };
        };
        assert.deepEqual(await find(objects), await find(other));
      }),
      { numRuns: 100 },
    );
  });

  it('a closed set stays as it is when closed again', () => {
    fc.assert(
      fc.property(anyCluster, fc.nat(), (objects, pick) => {
        const root = refOf(objects[pick % objects.length] as KubeObject);
        const once = closure(objects, [root], RULES);
        assert.deepEqual(keys(closure(once, [root], RULES)), keys(once));
      }),
    );
  });

  it('with more roots, nothing falls out', () => {
    fc.assert(
      fc.property(anyCluster, fc.nat(), fc.nat(), (objects, first, second) => {
        const root = (n: number) => refOf(objects[n % objects.length] as KubeObject);
        const both = new Set(keys(closure(objects, [root(first), root(second)], RULES)));
        for (const key of keys(closure(objects, [root(first)], RULES))) assert.ok(both.has(key), key);
      }),
    );
  });

  it('each chain begins at a root, hangs together, ends at its object, and each hop is what a rule reads', () => {
    fc.assert(
      fc.property(anyCluster, fc.nat(), (objects, pick) => {
        const root = refKey(refOf(objects[pick % objects.length] as KubeObject));
        const graph = graphOf(objects, RULES);
        for (const [key, path] of reach(graph, [root])) {
          let here = root;
          for (const edge of path) {
            const from = refKey(edge.from);
            const to = refKey(edge.to);
            assert.ok(here === from || here === to, 'the chain is broken');
            here = here === from ? to : from;
            const source = graph.objects.get(from) as KubeObject;
            const targets = rulesFor(RULES, source).flatMap((rule) => (rule.name === edge.name ? [...rule.read(source)] : []));
            const found = graph.objects.get(to) as KubeObject;
            assert.ok(
              targets.some((target) => means(target, found)),
              `${from} does not say that it ${edge.name} ${to}`,
            );
          }
          assert.equal(here, key);
        }
      }),
    );
  });

  it('what a member cannot do without is a member too, if it exists', () => {
    fc.assert(
      fc.property(anyCluster, fc.nat(), (objects, pick) => {
        const root = refOf(objects[pick % objects.length] as KubeObject);
        const inside = new Set(keys(closure(objects, [root], RULES)));
        for (const link of graphOf(objects, RULES).links) {
          if (link.relation === 'needs' && inside.has(link.from)) assert.ok(inside.has(link.to), `${link.from} needs ${link.to}`);
        }
      }),
    );
  });

  it('the tree has each member exactly once', async () => {
    await fc.assert(
      fc.asyncProperty(anyCluster, async (objects) => {
        const cluster = new MemoryCluster({ objects });
        const app = await discover(cluster, { namespace: 'shop', wholeNamespace: true }, { emit: () => undefined });
        const seen: string[] = [];
        const walk = (node: TreeNode): void => {
          if (node.role === 'member') seen.push(refKey(node.ref));
          node.children.forEach(walk);
        };
        applicationTree(app).forEach(walk);
        assert.deepEqual(seen.sort(), app.members.map((m) => refKey(refOf(m.object))).sort());
      }),
      { numRuns: 50 },
    );
  });
});

/** Whether a target means an object: the oracle to how the graph resolves it. */
function means(target: Target, o: KubeObject): boolean {
  if ('ref' in target) return refKey(target.ref) === refKey(refOf(o));
  if ('owner' in target) return target.owner.kind === o.kind && target.owner.name === o.metadata.name;
  if ('podsWith' in target) return labelMatcher(target.podsWith)(podTemplateOf(o)?.labels);
  if ('numbered' in target) return o.kind === target.numbered.kind && o.metadata.name.startsWith(target.numbered.prefix);
  return o.kind === target.every.kind;
}

function withUid(o: KubeObject): KubeObject {
  return {
    ...o,
    metadata: {
      ...o.metadata,
      uid: `uid-of-${o.metadata.name}`.concat(o.kind === 'Deployment' ? '' : o.kind),
      creationTimestamp: '2026-01-01T00:00:00Z',
    },
  };
}
