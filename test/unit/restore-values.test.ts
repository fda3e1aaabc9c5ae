import assert from 'node:assert/strict';
import { at } from '../../core/src/discovery/read.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { refKey, refOf } from '../../core/src/model.ts';
import type { ApplyStep, BackupView, RestoreOptions, RestorePlan, TargetState } from '../../core/src/restore/model.ts';
import { mapImage, mapValues } from '../../core/src/restore/value-maps.ts';
import { claimOf, emptyTarget, kube, live, outline, plan, shop } from '../support/restore.ts';

type Fields = Readonly<Record<string, unknown>>;
const deployment = (spec: Fields, labels: Fields = { app: 'web' }): KubeObject =>
  kube('apps/v1', 'Deployment', 'web', {
    spec: {
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'web', image: 'nginx' }], ...spec } },
    },
  });
const podOf = (o: KubeObject, ...path: readonly string[]): unknown => at(o, 'spec', 'template', 'spec', ...path);

describe('value maps', () => {
  it('sizes: of claims by name, and of the templates they are made from', () => {
    const claimSizes = { 'data-db-*': '20Gi', uploads: '3Gi' };
    const size = (o: unknown) => at(o, 'spec', 'resources', 'requests', 'storage');
    assert.equal(size(mapValues(claimOf('data-db-1'), { claimSizes })), '20Gi');
    assert.equal(size(mapValues(claimOf('other'), { claimSizes })), '1Gi');
    const set = kube('apps/v1', 'StatefulSet', 'db', {
      spec: {
        volumeClaimTemplates: [
          { metadata: { name: 'data' }, spec: {} },
          { metadata: { name: 'log' }, spec: {} },
        ],
      },
    });
    const templates = at(mapValues(set, { claimSizes }), 'spec', 'volumeClaimTemplates') as unknown[];
    assert.deepEqual(templates.map(size), ['20Gi', undefined]);
  });

  it('access modes: of claims, templates and ephemeral volumes', () => {
    const accessModes = { ReadWriteOnce: 'ReadWriteOncePod' };
    assert.deepEqual(at(mapValues(claimOf('a'), { accessModes }), 'spec', 'accessModes'), ['ReadWriteOncePod']);
    const volumes = [{ ephemeral: { volumeClaimTemplate: { spec: { accessModes: ['ReadWriteOnce'] } } } }];
    assert.deepEqual(podOf(mapValues(deployment({ volumes }), { accessModes }), 'volumes'), [
      { ephemeral: { volumeClaimTemplate: { spec: { accessModes: ['ReadWriteOncePod'] } } } },
    ]);
  });

  it('images: at the bounds of the parts of their names, the longest beginning first', () => {
    const images = { 'docker.io': 'mirror.local', 'quay.io/acme': 'mirror.local/acme', 'docker.io/library/nginx': 'local/nginx' };
    assert.equal(mapImage('nginx', images), 'local/nginx');
    assert.equal(mapImage('nginx:1.2', images), 'local/nginx:1.2');
    assert.equal(mapImage('acme/web', images), 'mirror.local/acme/web');
    assert.equal(mapImage('quay.io/acme/web@sha256:1', images), 'mirror.local/acme/web@sha256:1');
    assert.equal(mapImage('quay.io/acme2/web', images), 'quay.io/acme2/web');
    assert.equal(mapImage('localhost/nginx', images), 'localhost/nginx');
  });

  it('hosts: of Ingresses with their TLS, of routes and gateways; one name or a domain', () => {
    const hosts = { 'a.old': 'b.new', '*.old.test': '*.new.test' };
    const ingress = kube('networking.k8s.io/v1', 'Ingress', 'web', {
      spec: { rules: [{ host: 'a.old' }, { host: 'x.old.test' }], tls: [{ hosts: ['a.old', 'c'] }] },
    });
    assert.deepEqual(mapValues(ingress, { hosts })['spec'], {
      rules: [{ host: 'b.new' }, { host: 'x.new.test' }],
      tls: [{ hosts: ['b.new', 'c'] }],
    });
    const route = kube('gateway.networking.k8s.io/v1', 'HTTPRoute', 'web', { spec: { hostnames: ['y.old.test'] } });
    assert.deepEqual(mapValues(route, { hosts })['spec'], { hostnames: ['y.new.test'] });
  });

  it('node selectors: replaced or left out, in node affinity too', () => {
    const terms = (values: readonly string[], key = 'zone') => ({
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [{ key, operator: 'In', values }] }] },
      },
    });
    const web = deployment({ nodeSelector: { zone: 'a', disk: 'ssd' }, affinity: terms(['a']) });
    const nodeSelectors = [{ from: ['zone', 'a'], to: ['topology/zone', 'b'] }, { from: ['disk', 'ssd'] }] as const;
    const mapped = mapValues(web, { nodeSelectors });
    assert.deepEqual(podOf(mapped, 'nodeSelector'), { 'topology/zone': 'b' });
    assert.deepEqual(podOf(mapped, 'affinity'), terms(['b'], 'topology/zone'));
    assert.equal(podOf(mapValues(deployment({ nodeSelector: { disk: 'ssd' } }), { nodeSelectors }), 'nodeSelector'), undefined);
  });

  it('labels: on objects, pods and in selectors of all sorts, and nowhere else', () => {
    const labels = [{ from: ['app', 'web'], to: ['app', 'copy'] }] as const;
    const web = mapValues(deployment({ nodeSelector: { app: 'web' } }), { labels });
    assert.deepEqual(
      [at(web, 'spec', 'selector', 'matchLabels'), at(web, 'spec', 'template', 'metadata', 'labels')],
      [{ app: 'copy' }, { app: 'copy' }],
    );
    assert.deepEqual(podOf(web, 'nodeSelector'), { app: 'web' });
    const service = kube('v1', 'Service', 'web', { spec: { selector: { app: 'web', tier: 'x' } } });
    assert.deepEqual(mapValues(service, { labels })['spec'], { selector: { app: 'copy', tier: 'x' } });
    const policy = kube('networking.k8s.io/v1', 'NetworkPolicy', 'p', {
      spec: {
        podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['web', 'db'] }] },
        ingress: [{ from: [{ podSelector: { matchLabels: { app: 'web' } } }] }],
      },
    });
    assert.deepEqual(mapValues(policy, { labels })['spec'], {
      podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['copy', 'db'] }] },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'copy' } } }] }],
    });
    const config = kube('v1', 'ConfigMap', 'c', { data: { app: 'web' } });
    assert.deepEqual(mapValues(config, { labels }), config);
    assert.deepEqual(mapValues(config, { addLabels: { env: 'dr' } }).metadata.labels, { env: 'dr' });
  });
});

describe('a mapping that concerns nothing', () => {
  const unused = (options: Partial<RestoreOptions>) =>
    plan(shop(), emptyTarget(), { activate: true, allow: ['*'], namespace: 'copy', ...options })
      .findings.filter((f) => f.code === 'mapping-unused')
      .map(({ level, message }) => `${level}: ${message}`);

  it('is named, for each way to map', () => {
    assert.deepEqual(
      unused({
        storageClassMap: { fats: 'fast', fast: 'fast' },
        values: {
          claimSizes: { 'data-bd-*': '2Gi', 'data-db-*': '2Gi' },
          accessModes: { ReadWriteMany: 'ReadWriteOnce', ReadWriteOnce: 'ReadWriteOncePod' },
          images: { acne: 'mirror.local/acme', acme: 'mirror.local/acme' },
          hosts: { 'shop.exmaple.com': 'x.test', '*.example.com': '*.test', '*.example.org': '*.test' },
          nodeSelectors: [{ from: ['zone', 'b'] }, { from: ['zone', 'a'], to: ['zone', 'c'] }],
          labels: [
            { from: ['app', 'wbe'], to: ['app', 'x'] },
            { from: ['app', 'web'], to: ['app', 'y'] },
          ],
          addLabels: { new: 'one' },
        },
      }),
      [
        '--map-storage-class fats=fast',
        '--map-size data-bd-*=2Gi',
        '--map-access-mode ReadWriteMany=ReadWriteOnce',
        '--map-image acne=mirror.local/acme',
        '--map-host shop.exmaple.com=x.test',
        '--map-host *.example.org=*.test',
        '--map-node-selector zone=b:',
        '--map-label app=wbe:app=x',
      ].map((flag) => `warning: ${flag} concerns nothing that is restored`),
    );
  });

  it('is none when only text names the host', () => {
    const backup = shop();
    const text = kube('v1', 'ConfigMap', 'urls', { data: { 'app.ini': 'url = https://www.acme.test/shop\n' } });
    const findings = (hosts: Record<string, string>) =>
      plan({ ...backup, objects: [...backup.objects, text] }, emptyTarget(), { activate: true, values: { hosts } }).findings;
    assert.ok(!findings({ 'www.acme.test': 'www.acme.example' }).some((f) => f.code === 'mapping-unused'));
    assert.ok(findings({ 'ww.acme.test': 'www.acme.example' }).some((f) => f.code === 'mapping-unused'));
  });

  it('what is left out of what was not asked for is not named', () => {
    const leftOut = (options: Partial<RestoreOptions>) =>
      plan(shop(), emptyTarget(), { activate: true, ...options }).findings.filter((f) => f.code === 'left-out').length;
    assert.ok(leftOut({}) > 0);
    assert.equal(leftOut({ volumes: { uploads: 'uploads-old' } }), 0);
  });

  it('of volumes that are chosen one can be excluded', () => {
    const volumes = { uploads: 'uploads-old', 'data-db-0': 'old-0' };
    const chosen = plan(shop(), emptyTarget(), { activate: true, volumes, exclude: ['pvc/uploads'] });
    assert.deepEqual(
      chosen.steps.flatMap((s) => (s.do === 'populate' ? s.claim.name : [])),
      ['old-0'],
    );
  });
});

describe('names', () => {
  const planned = (options: Partial<RestoreOptions>, target: Partial<TargetState> = {}, backup: BackupView = shop()): RestorePlan =>
    plan(backup, emptyTarget(target), options);
  const step = (p: RestorePlan, name: string): ApplyStep => {
    const found = p.steps.find((s): s is ApplyStep => s.do === 'apply' && `${s.ref.kind}/${s.ref.name}` === name);
    assert.ok(found, `no ${name} among ${outline(p.steps).join(', ')}`);
    return found;
  };

  it('a prefix: on everything, references and the claims of StatefulSets follow', () => {
    const p = planned({ namePrefix: 'x-', namespace: 'shop-dr' });
    const db = step(p, 'StatefulSet/x-db').manifest;
    assert.equal(at(db, 'spec', 'serviceName'), 'x-db');
    const [container] = podOf(db, 'containers') as Fields[];
    assert.deepEqual(container?.['env'], [{ name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'x-db-password', key: 'password' } } }]);
    const web = step(p, 'Deployment/x-web').manifest;
    assert.equal(podOf(web, 'serviceAccountName'), 'x-web');
    assert.deepEqual(podOf(web, 'volumes'), [{ name: 'up', persistentVolumeClaim: { claimName: 'x-uploads' } }]);
    assert.equal(at(step(p, 'HorizontalPodAutoscaler/x-web').manifest, 'spec', 'scaleTargetRef', 'name'), 'x-web');
    const binding = step(p, 'ClusterRoleBinding/x-shop-web').manifest;
    assert.deepEqual(
      [at(binding, 'roleRef', 'name'), at(binding, 'subjects')],
      ['x-shop-web', [{ kind: 'ServiceAccount', name: 'x-web', namespace: 'shop-dr' }]],
    );
    assert.deepEqual(
      p.steps.flatMap((s) => (s.do === 'populate' ? [[s.claim.name, s.root]] : [])),
      [
        ['data-x-db-0', 'root-data-db-0'],
        ['x-uploads', 'root-uploads'],
      ],
    );
    assert.ok(!p.findings.some((f) => f.code === 'reference-missing' || f.code === 'claim-left-out'), JSON.stringify(p.findings));
    assert.deepEqual(step(p, 'Namespace/shop-dr').ref.name, 'shop-dr');
  });

  it('rename: what exists is restored beside, with its references; the rest keeps its name', () => {
    const existing = [live(kube('v1', 'Secret', 'db-password')), live(claimOf('data-db-0'))];
    const p = planned({ conflict: 'rename' }, { existing });
    const db = step(p, 'StatefulSet/db-restored').manifest;
    const [container] = podOf(db, 'containers') as Fields[];
    assert.match(JSON.stringify(container), /"name":"db-password-restored"/);
    assert.ok(outline(p.steps).includes('create persistentvolumeclaim/data-db-restored-0'));
    assert.ok(outline(p.steps).includes('create deployment/web'));
    assert.deepEqual(
      p.findings.filter((f) => f.level === 'blocker'),
      [],
    );
  });

  it('rename: a name that is taken beside too is a conflict', () => {
    const existing = ['web-config', 'web-config-restored'].map((name) => live(kube('v1', 'ConfigMap', name)));
    const p = planned({ conflict: 'rename' }, { existing });
    assert.equal(step(p, 'ConfigMap/web-config-restored').action, 'conflict');
  });

  it('rename: pods behind a Service of the original stand in the way, until they have another label', () => {
    const database = shop().objects.find((o) => o.kind === 'StatefulSet');
    const service = shop().objects.find((o) => o.kind === 'Service' && o.metadata.name === 'db');
    assert.ok(database && service);
    const existing = [database, service, live(claimOf('data-db-0'))];
    const shared = planned({ conflict: 'rename' }, { existing }).findings.find((f) => f.code === 'pods-shared');
    assert.deepEqual([shared?.level, shared?.hint], ['blocker', '--map-label app=db:app=db-restored']);
    const labels = [{ from: ['app', 'db'], to: ['app', 'db-restored'] }] as const;
    const apart = planned({ conflict: 'rename', values: { labels } }, { existing });
    assert.deepEqual(
      apart.findings.filter((f) => f.level === 'blocker'),
      [],
    );
    assert.deepEqual(at(step(apart, 'Service/db-restored').manifest, 'spec', 'selector'), { app: 'db-restored' });
  });

  it('a size that the operator chose wins over that of the captured volume', () => {
    const p = planned({ values: { claimSizes: { uploads: '512Mi' } } });
    const claim = p.steps.find((s) => s.do === 'create-claim' && s.ref.name === 'uploads');
    assert.ok(claim?.do === 'create-claim');
    assert.equal(at(claim.manifest, 'spec', 'resources', 'requests', 'storage'), '512Mi');
    assert.ok(claim.changes.includes('spec.resources.requests.storage: 1Gi -> 512Mi'));
  });

  it('mapping nothing changes nothing', () => {
    for (const object of shop().objects) assert.deepEqual(mapValues(object, {}), object);
    assert.deepEqual(planned({ values: {}, patches: [] }).steps, planned({}).steps);
    assert.equal(new Set(shop().objects.map((o) => refKey(refOf(o)))).size, shop().objects.length);
  });
});
