import assert from 'node:assert/strict';
import { imageName } from '../support/images/names.ts';
import { startLab, type Lab } from '../support/lab.ts';

const say = (word: string) => JSON.stringify(['sh', '-c', `echo ${word} >>/data/log`]);
const ANNOTATIONS = {
  'pre.hook.backup.velero.io/container': 'main',
  'pre.hook.backup.velero.io/command': say('before'),
  'post.hook.backup.velero.io/command': say('after'),
  'post.hook.restore.velero.io/command': say('restored'),
};

describe('Velero’s hook annotations on a real cluster', function () {
  this.timeout('5m');
  const namespace = `hooks-${Date.now().toString(36)}`;
  const copy = `${namespace}-copy`;
  let lab: Lab;
  const log = async (of: string) =>
    (await lab.source.kubectl('-n', of, 'exec', 'deployment/app', '--', 'cat', '/data/log')).trim().split('\n').join(' ');
  const flags = () => `-n ${namespace} --context ${lab.source.context} --location-file ${lab.locationFile}`;

  before(async () => {
    lab = await startLab();
    await lab.source.kubectl('create', 'namespace', namespace);
    await lab.makeLocation(namespace);
    const metadata = { name: 'app', namespace };
    const claim = {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata,
      spec: { storageClassName: 'csi-hostpath', accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '16Mi' } } },
    };
    const container = { name: 'main', image: imageName('postgres:15'), imagePullPolicy: 'IfNotPresent', command: ['sleep', 'infinity'] };
    const app = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata,
      spec: {
        selector: { matchLabels: { app: 'app' } },
        strategy: { type: 'Recreate' },
        template: {
          metadata: { labels: { app: 'app' }, annotations: ANNOTATIONS },
          spec: {
            terminationGracePeriodSeconds: 0,
            securityContext: { runAsUser: 999, fsGroup: 999 },
            containers: [{ ...container, volumeMounts: [{ name: 'data', mountPath: '/data' }] }],
            volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'app' } }],
          },
        },
      },
    };
    await lab.source.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [claim, app] }));
    await lab.source.kubectl('-n', namespace, 'rollout', 'status', 'deployment/app', '--timeout=120s');
  });

  after(async () => {
    await lab.source.kubectl('delete', 'namespace', namespace, copy, '--ignore-not-found', '--wait=false');
    await lab.stop();
  });

  it('run before and after the volume snapshots, and in the restored pods when they are ready', async () => {
    await lab.dmaas(`backup create first --all ${flags()}`);
    assert.equal(await log(namespace), 'before after');
    await lab.dmaas(`restore create first ${flags()} --to-namespace ${copy} --yes`);
    assert.equal(await log(copy), 'before restored', 'captured between the two');
  });

  it('one that fails stops the backup, unless its annotation says otherwise, and what was to come after it runs all the same', async () => {
    const annotate = (...pairs: string[]) =>
      lab.source.kubectl('-n', namespace, 'annotate', 'pod', '-l', 'app=app', '--overwrite', ...pairs);
    await annotate(`pre.hook.backup.velero.io/command=${JSON.stringify(['sh', '-c', 'echo no luck >&2; exit 3'])}`);
    const { code, stderr } = await lab.plugin.run(`backup create second --all ${flags()}`.split(' '));
    assert.equal(code, 41, stderr);
    assert.match(stderr, /annotation of pod\/app-.*ended with exit code 3: no luck/);
    assert.equal(await log(namespace), 'before after after');
    await annotate('pre.hook.backup.velero.io/on-error=Continue');
    await lab.dmaas(`backup create third --all ${flags()}`, 3);
    assert.equal(await log(namespace), 'before after after after');
  });
});
