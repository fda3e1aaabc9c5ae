import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeObject } from '../../core/src/model.ts';
import { imageName } from '../support/images/names.ts';
import { nodeInImage } from '../support/images/node-layer.ts';
import { startLab, type Lab } from '../support/lab.ts';
import { type CustomKind, definitionOf, operatorOf } from '../support/programs/objects.ts';

const LABELS = { app: 'kept' };

/** What keeps a workload running, each with a claim: those whose controllers DMaaS knows how to pause, and one that it does not know. */
interface Kept {
  readonly kind: CustomKind;
  /** Of the workload. */
  readonly workload: string;
  /** What the controller leaves on it. */
  readonly marks: (namespace: string) => object;
  readonly says: RegExp;
}

const custom = (group: string, version: string, kind: string, plural: string, isOwner: boolean): CustomKind => ({
  ...{ group, version, kind, plural, isOwner },
});

const GARDEN = custom('corpus.example', 'v1', 'Garden', 'gardens', true);
const KEPT: readonly Kept[] = [
  { kind: GARDEN, workload: 'garden', marks: () => ({}), says: /is kept as it is by the operator of garden\/garden,/ },
  {
    kind: custom('postgresql.cnpg.io', 'v1', 'Cluster', 'clusters', true),
    workload: 'cluster',
    marks: () => ({}),
    says: /is kept as it is by the operator of cluster\/cluster,/,
  },
  {
    kind: custom('kustomize.toolkit.fluxcd.io', 'v1', 'Kustomization', 'kustomizations', false),
    workload: 'kustomization',
    marks: (namespace) => ({
      labels: { 'kustomize.toolkit.fluxcd.io/name': 'kustomization', 'kustomize.toolkit.fluxcd.io/namespace': namespace },
    }),
    says: /is kept as it is by Flux Kustomization kustomization,/,
  },
  {
    kind: custom('helm.toolkit.fluxcd.io', 'v2', 'HelmRelease', 'helmreleases', false),
    workload: 'helmrelease',
    marks: (namespace) => ({
      labels: { 'helm.toolkit.fluxcd.io/name': 'helmrelease', 'helm.toolkit.fluxcd.io/namespace': namespace },
    }),
    says: /is kept as it is by Flux HelmRelease helmrelease,/,
  },
  {
    kind: custom('argoproj.io', 'v1alpha1', 'Application', 'applications', false),
    workload: 'application',
    marks: (namespace) => ({ annotations: { 'argocd.argoproj.io/tracking-id': `${namespace}_application:apps/Deployment:x/y` } }),
    says: /is kept as it is by Argo CD application application,/,
  },
];

/** Controllers that start again what they find stopped. The operator is a real one, if a small one; the kinds it acts on are named as those of others. */
describe('a restore in place beside controllers', function () {
  this.timeout(300_000);
  this.bail(true);
  const space = `kept-${Date.now().toString(36)}`;
  const allowed = KEPT.map(({ workload }) => `--allow */${workload}`).join(' ');
  let lab: Lab;
  let findings: readonly { readonly level: string; readonly message: string; readonly hint?: string }[];

  const kubectl = (...args: string[]) => lab.source.kubectl('-n', space, ...args);
  const here = (args: string) => `${args} -n ${space} --context ${lab.source.context} --location-file ${lab.locationFile}`.split(' ');
  const run = (args: string) => lab.plugin.run(here(args));
  const users = ['job/import', ...KEPT.map(({ kind, workload }) => `${kind.isOwner ? 'statefulset' : 'deployment'}/${workload}`)];
  const inPods = (script: string) => Promise.all(users.map((user) => kubectl('exec', user, '--', nodeInImage, '-e', script)));
  const write = (text: string) => inPods(`require('fs').writeFileSync('/data/f', '${text}')`);
  const read = () => inPods(`process.stdout.write(require('fs').readFileSync('/data/f', 'utf8'))`);
  const all = (text: string) => users.map(() => text);
  const ready = async () => {
    for (const user of users) await kubectl('wait', '--for=create', user, '--timeout=60s');
    for (const user of users.slice(1)) await kubectl('rollout', 'status', user, '--timeout=120s');
    await kubectl('wait', 'job/import', '--for=jsonpath={.status.ready}=1', '--timeout=120s');
  };
  /** A command as it stands in a hint, as a shell takes it. */
  const runHint = (command: string) => {
    assert.match(command, /^kubectl /);
    const words = execFileSync('sh', ['-c', `printf '%s\\n' ${command.slice('kubectl '.length)}`], { encoding: 'utf8' });
    return lab.source.kubectl(...words.trimEnd().split('\n'));
  };

  before(async () => {
    lab = await startLab();
    await lab.source.kubectl('create', 'namespace', space);
    await lab.makeLocation(space);
    for (const { kind } of KEPT) {
      await lab.source.apply(JSON.stringify(definitionOf(kind)));
      await lab.source.kubectl('wait', '--for=condition=Established', `crd/${kind.plural}.${kind.group}`);
    }
    const kinds = KEPT.map(({ kind }) => kind);
    const items = [...operatorOf(kinds, space, LABELS), ...KEPT.flatMap((kept) => keptObjects(kept, space)), ...cronObjects(space)];
    await lab.source.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
    await kubectl('create', 'job', 'import', '--from=cronjob/nightly');
    await ready();
    await write('one');
    const backup = await run('backup create one --all');
    assert.equal(backup.code, 0, backup.stderr);
    await write('two');
  });

  after(async () => {
    await lab.source.kubectl('delete', 'namespace', space, '--wait=false');
    for (const { kind } of KEPT) await lab.source.kubectl('delete', 'crd', `${kind.plural}.${kind.group}`, '--wait=false');
    await lab.stop();
  });

  it('is refused, with who would start them again and the command that pauses that', async () => {
    const { code, stdout, stderr } = await run('restore plan one --in-place -o json');
    assert.equal(code, 40, stderr);
    ({ findings } = JSON.parse(stdout) as { findings: typeof findings });
    const blockers = findings.filter(({ level }) => level === 'blocker');
    assert.equal(blockers.length, KEPT.length);
    for (const { says } of KEPT) assert.equal(blockers.filter(({ message }) => says.test(message)).length, 1, String(says));
    assert.ok(findings.some(({ message }) => message.startsWith('cronjob/nightly is suspended meanwhile')));
    assert.deepEqual(await read(), all('two'));
  });

  it('that is allowed nevertheless notices that a workload was started again; paused and resumed, it goes on', async () => {
    const { code, stderr } = await run('restore create one --in-place --volume data-garden-0 --allow statefulset/garden --yes');
    assert.equal(code, 43, stderr);
    assert.match(stderr, /somebody has started statefulset\/garden again before its volumes were rewritten/);
    assert.match(stderr, /pause what keeps it running \(an operator, Argo CD, Flux\)/);
    const [, id = ''] = /restore resume (\w+)/.exec(stderr) ?? [];
    await kubectl('patch', 'gardens', 'garden', '--type=merge', '-p', '{"spec":{"suspend":true}}');
    const resumed = await run(`restore resume ${id}`);
    assert.equal(resumed.code, 0, resumed.stderr);
    await ready();
    assert.deepEqual(
      await read(),
      users.map((user) => (user === 'statefulset/garden' ? 'one' : 'two')),
    );
    await lab.dmaas(here(`restore delete ${id} --yes`).join(' '));
  });

  it('does its work when the commands that it names were run, a CronJob and its Job included', async () => {
    const pauses = findings.flatMap(({ level, hint = '' }) => (level === 'blocker' ? hint.split(', then --allow')[0]! : []));
    for (const pause of pauses.filter((command) => !command.startsWith('pause '))) await runHint(pause);
    const { code, stdout, stderr } = await run(`restore create one --in-place ${allowed} --yes -o json`);
    assert.equal(code, 0, stderr);
    ({ findings } = JSON.parse(stdout) as { findings: typeof findings });
    await ready();
    assert.deepEqual(await read(), all('one'));
    const marks = await kubectl('get', 'statefulset,deployment,job,cronjob', '-o', 'yaml');
    assert.ok(!marks.includes('dmaas.io/'), marks);
    assert.equal(await kubectl('get', 'cronjob', 'nightly', '-o', 'jsonpath={.spec.suspend}'), 'false');
  });

  it('names the commands after which they go on', async () => {
    const resumes = findings.flatMap(({ hint = '' }) => (hint.startsWith('afterwards: ') ? hint.slice('afterwards: '.length) : []));
    assert.equal(resumes.length, KEPT.length - 1);
    for (const resume of resumes) await runHint(resume);
    await kubectl('patch', 'gardens', 'garden', '--type=merge', '-p', '{"spec":{"suspend":false}}');
    for (const user of users.slice(1)) await kubectl('scale', user, '--replicas=0');
    const replicas = async () => (await kubectl('get', ...users.slice(1), '-o', 'jsonpath={.items[*].spec.replicas}')).split(' ');
    for (let waited = 0; (await replicas()).includes('0'); waited++) {
      assert.ok(waited < 50, (await replicas()).join());
      await sleep(200);
    }
  });
});

function podOf(claim: string | undefined): object {
  return {
    ...{ terminationGracePeriodSeconds: 1, securityContext: { runAsUser: 0 } },
    containers: [
      {
        ...{ name: 'main', image: imageName('web:1'), imagePullPolicy: 'IfNotPresent' },
        command: [nodeInImage, '-e', 'setInterval(() => {}, 1e6)'],
        volumeMounts: [{ name: 'data', mountPath: '/data' }],
      },
    ],
    ...(claim === undefined ? {} : { volumes: [{ name: 'data', persistentVolumeClaim: { claimName: claim } }] }),
  };
}

const CLAIM = { accessModes: ['ReadWriteOnce'], storageClassName: 'csi-hostpath', resources: { requests: { storage: '16Mi' } } };

/** The custom resource with the workload that its controller makes; the claim is not for the controller to make. */
function keptObjects({ kind, workload, marks }: Kept, namespace: string): KubeObject[] {
  const labels = { ...LABELS, part: workload };
  const claim = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name: workload, namespace, labels }, spec: CLAIM };
  const common = { replicas: 1, selector: { matchLabels: { part: workload } } };
  const made = kind.isOwner
    ? {
        ...{ apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { name: workload } },
        spec: {
          ...{ ...common, serviceName: workload, template: { metadata: { labels }, spec: podOf(undefined) } },
          volumeClaimTemplates: [{ metadata: { name: 'data' }, spec: CLAIM }],
        },
      }
    : {
        ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: workload, ...marks(namespace) } },
        spec: { ...common, strategy: { type: 'Recreate' }, template: { metadata: { labels }, spec: podOf(workload) } },
      };
  const service = {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: workload } },
    spec: { clusterIP: 'None', selector: { part: workload }, ports: [{ port: 80 }] },
  };
  const resource = {
    ...{ apiVersion: `${kind.group}/${kind.version}`, kind: kind.kind, metadata: { name: workload, namespace, labels: LABELS } },
    spec: { objects: kind.isOwner ? [made, service] : [made] },
  };
  return [...(kind.isOwner ? [] : [claim]), resource];
}

/** Never due; a Job is made of it by hand, as people do. */
function cronObjects(namespace: string): KubeObject[] {
  const metadata = { namespace, labels: LABELS };
  return [
    { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { ...metadata, name: 'nightly' }, spec: CLAIM },
    {
      ...{ apiVersion: 'batch/v1', kind: 'CronJob', metadata: { ...metadata, name: 'nightly' } },
      spec: {
        schedule: '0 0 29 2 *',
        jobTemplate: { spec: { template: { metadata: { labels: LABELS }, spec: { ...podOf('nightly'), restartPolicy: 'Never' } } } },
      },
    },
  ];
}
