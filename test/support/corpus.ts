import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KubeObject } from '../../core/src/model.ts';
import { manyObjects } from '../bench/many-objects.ts';
import { demoApp } from '../demo/application.ts';
import { imageName } from './images/names.ts';
import { nodeInImage } from './images/node-layer.ts';
import { type CustomKind, definitionOf, operatorOf, programOf } from './programs/objects.ts';
import { makeCertificate } from './stores/tls.ts';

/** Data that must be the same after a restore: a directory or a device, as a pod of a workload sees it, or what a shell script says there, rows for one. */
export type CorpusData = { readonly in: string; readonly path: string } | CorpusScript;

/** A shell script in a pod of a workload. */
export interface CorpusScript {
  readonly in: string;
  readonly script: string;
}

/** An application as users have them. */
export interface CorpusApp {
  readonly name: string;
  readonly objects: (namespace: string) => readonly KubeObject[] | Promise<readonly KubeObject[]>;
  /** Writes data that are not simply files, in order. */
  readonly fill?: readonly CorpusScript[];
  readonly data: readonly CorpusData[];
  /** Workloads that must get ready. */
  readonly ready: readonly string[];
  /** A pod that is not part of it, and there only to write data and to read them again. */
  readonly writer?: string;
  /** Objects that must be there, besides. */
  readonly there?: readonly string[];
  /** Of what a backup holds, what a restore does not make, as the plan says. */
  readonly leftOut?: readonly string[];
  /** What the application's own webhooks must refuse. */
  readonly refuses?: KubeObject;
}

type Fields = Readonly<Record<string, unknown>>;

const LABELS = { app: 'corpus' };
const SLEEP = [nodeInImage, '-e', 'process.on("SIGTERM", () => process.exit()); setInterval(() => {}, 1e6)'];

function make(apiVersion: string, kind: string, name: string, fields: Fields = {}, metadata: Fields = {}): KubeObject {
  return { apiVersion, kind, metadata: { name, labels: LABELS, ...metadata }, ...fields };
}

function podSpec(change: Fields = {}, container: Fields = {}): Fields {
  return {
    terminationGracePeriodSeconds: 2,
    containers: [{ name: 'main', image: imageName('web:1'), imagePullPolicy: 'IfNotPresent', command: SLEEP, ...container }],
    ...change,
  };
}

function template(labels: Readonly<Record<string, string>>, change: Fields = {}, container: Fields = {}): Fields {
  return { metadata: { labels: { ...LABELS, ...labels } }, spec: podSpec(change, container) };
}

function workload(
  kind: string,
  name: string,
  replicas: number | undefined,
  change: Fields = {},
  container: Fields = {},
  more: Fields = {},
): KubeObject {
  const count = replicas === undefined ? {} : { replicas };
  return make('apps/v1', kind, name, {
    spec: { ...count, selector: { matchLabels: { part: name } }, template: template({ part: name }, change, container), ...more },
  });
}

function claim(name: string, more: Fields = {}): KubeObject {
  return make('v1', 'PersistentVolumeClaim', name, { spec: claimSpec(more) });
}

function claimSpec(more: Fields = {}): Fields {
  return { storageClassName: 'csi-hostpath', accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '64Mi' } }, ...more };
}

/** A pod's use of a claim, at /data. */
function mounting(claimName: string): readonly [Fields, Fields] {
  return [{ volumes: [{ name: 'data', persistentVolumeClaim: { claimName } }] }, { volumeMounts: [{ name: 'data', mountPath: '/data' }] }];
}

function service(name: string, part: string, more: Fields = {}): KubeObject {
  return make('v1', 'Service', name, { spec: { selector: { part }, ports: [{ port: 80, targetPort: 8080 }], ...more } });
}

/** A certificate for that name as a Secret, and its authority as webhooks name it. */
async function certificateFor(host: string, name: string): Promise<{ readonly secret: KubeObject; readonly caBundle: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'dmaas-corpus-'));
  try {
    const { caFile, certFile, keyFile } = await makeCertificate(dir, host);
    const [ca, cert, key] = await Promise.all([caFile, certFile, keyFile].map(async (file) => (await readFile(file)).toString('base64')));
    return {
      secret: make('v1', 'Secret', name, { type: 'kubernetes.io/tls', data: { 'tls.crt': cert, 'tls.key': key } }),
      caBundle: ca ?? '',
    };
  } finally {
    await rm(dir, { recursive: true });
  }
}

const LEDGER: CustomKind = { group: 'corpus.example', version: 'v1', kind: 'Ledger', plural: 'ledgers', isOwner: true };
/** As a person reaches it: with the password that the operator has made. */
const BOOKS = (sql: string) => `PGPASSWORD="$POSTGRES_PASSWORD" psql -h "$(hostname -i)" -U postgres -d books -XAtqc "${sql}"`;
const QUEUE_CLI = 'redis-cli --no-auth-warning';
const QUEUE_PASSWORD = { secretKeyRef: { name: 'queue', key: 'password' } };
const QUEUE_ENV = ['REDIS_PASSWORD', 'REDISCLI_AUTH'].map((name) => ({ name, valueFrom: QUEUE_PASSWORD }));

const PASSWORD = { valueFrom: { secretKeyRef: { name: 'blog', key: 'password' } } };
/** Each table's checksum of all its rows. */
const TABLES = `sql() { MYSQL_PWD="$MARIADB_ROOT_PASSWORD" mariadb -u root -N -B -e "$1"; }
tables="$(sql "SELECT GROUP_CONCAT(table_schema, '.', table_name ORDER BY table_name) FROM information_schema.tables WHERE table_schema = 'wordpress'")"
[ "$tables" != NULL ] && sql "CHECKSUM TABLE $tables EXTENDED"`;
/** Over HTTP, as a person would in a browser: installs it, then uploads a picture and publishes a post. */
const INSTALL = `set -e
site=http://localhost:8080
curl -sSf -o /tmp/installed "$site/wp-admin/install.php?step=2" --data 'weblog_title=Corpus&user_name=admin&admin_password=corpus-secret&admin_password2=corpus-secret&pw_weak=1&admin_email=admin%40corpus.example&blog_public=0'
grep -q 'WordPress has been installed' /tmp/installed || { cat /tmp/installed; exit 1; }
call() {
  curl -sSf -o /tmp/answer "$site/xmlrpc.php" -H 'Content-Type: text/xml' --data-binary "<methodCall><methodName>$1</methodName><params><param><value><int>1</int></value></param><param><value><string>admin</string></value></param><param><value><string>corpus-secret</string></value></param><param><value><struct>$2</struct></value></param></params></methodCall>"
  ! grep -q fault /tmp/answer || { cat /tmp/answer; exit 1; }
}
member() { printf '<member><name>%s</name><value><%s>%s</%s></value></member>' "$1" "$2" "$3" "$2"; }
call wp.uploadFile "$(member name string picture.txt)$(member type string text/plain)$(member bits base64 "$(head -c 50000 /dev/urandom | base64)")"
call wp.newPost "$(member post_type string post)$(member post_status string publish)$(member post_title string 'A post of the corpus')$(member post_content string 'What is written here must be here again.')"
for visit in first second; do curl -sSf -o /dev/null "$site/"; done`;

export const CORPUS: readonly CorpusApp[] = [
  {
    name: 'database, front end, rights in the cluster',
    objects: (namespace) => demoApp(namespace),
    fill: [
      {
        in: 'statefulset/db',
        script: `psql -d shop -qc "create table orders as select n, md5(n::text) item, now() placed from generate_series(1, 5000) n"`,
      },
    ],
    data: [
      { in: 'deployment/web', path: '/uploads' },
      {
        in: 'statefulset/db',
        script: `psql -d shop -XAtc "select count(*), md5(string_agg(n || item || placed, ',' order by n)) from orders"`,
      },
    ],
    ready: ['statefulset/db', 'deployment/web'],
  },
  {
    name: 'WordPress with MariaDB',
    objects: () => [
      make('v1', 'Secret', 'blog', { stringData: { 'root-password': 'not a good one', password: 'neither' } }),
      make('v1', 'Service', 'mariadb', { spec: { selector: { part: 'mariadb' }, ports: [{ port: 3306 }] } }),
      workload(
        'StatefulSet',
        'mariadb',
        1,
        { securityContext: { runAsUser: 999, runAsGroup: 999, fsGroup: 999, fsGroupChangePolicy: 'OnRootMismatch' } },
        {
          image: imageName('mariadb:10.11'),
          command: undefined,
          env: [
            { name: 'MARIADB_ROOT_PASSWORD', valueFrom: { secretKeyRef: { name: 'blog', key: 'root-password' } } },
            { name: 'MARIADB_DATABASE', value: 'wordpress' },
            { name: 'MARIADB_USER', value: 'wordpress' },
            { name: 'MARIADB_PASSWORD', ...PASSWORD },
          ],
          readinessProbe: { exec: { command: ['sh', '-c', 'MYSQL_PWD="$MARIADB_PASSWORD" mariadb -u wordpress -e "SELECT 1" wordpress'] } },
          volumeMounts: [{ name: 'data', mountPath: '/var/lib/mysql' }],
        },
        {
          serviceName: 'mariadb',
          volumeClaimTemplates: [{ metadata: { name: 'data' }, spec: claimSpec({ resources: { requests: { storage: '512Mi' } } }) }],
        },
      ),
      claim('uploads'),
      service('wordpress', 'wordpress'),
      workload(
        'Deployment',
        'wordpress',
        1,
        {
          securityContext: { runAsUser: 33, runAsGroup: 33, fsGroup: 33, fsGroupChangePolicy: 'OnRootMismatch' },
          volumes: [{ name: 'uploads', persistentVolumeClaim: { claimName: 'uploads' } }],
        },
        {
          image: imageName('wordpress:6.1'),
          command: undefined,
          env: [
            { name: 'WORDPRESS_DB_HOST', value: 'mariadb' },
            { name: 'WORDPRESS_DB_PASSWORD', ...PASSWORD },
          ],
          readinessProbe: { tcpSocket: { port: 8080 } },
          volumeMounts: [{ name: 'uploads', mountPath: '/var/lib/wordpress/wp-content/uploads' }],
        },
        { strategy: { type: 'Recreate' } },
      ),
    ],
    fill: [{ in: 'deployment/wordpress', script: INSTALL }],
    data: [
      { in: 'statefulset/mariadb', script: TABLES },
      {
        in: 'deployment/wordpress',
        script: `cd /var/lib/wordpress/wp-content/uploads && find . -mindepth 1 -printf '%p %y %m %U %T@ %s\n' | sort && find . -type f -exec sha256sum {} + | sort && [ -n "$(find . -size +40k)" ]`,
      },
      {
        in: 'deployment/wordpress',
        script: `curl -sSf "http://localhost:8080/" | grep -o 'What is written here must be here again' | head -1 | grep .`,
      },
    ],
    ready: ['statefulset/mariadb', 'deployment/wordpress'],
  },
  {
    name: 'namespace of 2 000 objects',
    objects: (namespace) => [
      ...manyObjects(namespace, 2000),
      claim('store'),
      workload('Deployment', 'store', 1, ...mounting('store'), { strategy: { type: 'Recreate' } }),
    ],
    data: [{ in: 'deployment/store', path: '/data' }],
    ready: ['deployment/store'],
    there: ['configmap/o-1996', 'secret/o-1997', 'service/o-1998', 'serviceaccount/o-1999'],
  },
  {
    name: 'three replicas, two templates',
    objects: () => [
      service('nodes', 'nodes', { clusterIP: 'None' }),
      workload(
        'StatefulSet',
        'nodes',
        3,
        {},
        {
          volumeMounts: [
            { name: 'log', mountPath: '/data/log' },
            { name: 'state', mountPath: '/data/state' },
          ],
        },
        {
          serviceName: 'nodes',
          podManagementPolicy: 'Parallel',
          volumeClaimTemplates: ['log', 'state'].map((name) => ({ metadata: { name }, spec: claimSpec() })),
        },
      ),
    ],
    data: [0, 1, 2].flatMap((i) => [
      { in: `pod/nodes-${String(i)}`, path: '/data/log' },
      { in: `pod/nodes-${String(i)}`, path: '/data/state' },
    ]),
    ready: ['statefulset/nodes'],
  },
  {
    name: 'queue and its consumers',
    objects: () => [
      make('v1', 'Secret', 'queue', { stringData: { password: 'hardly one' } }),
      claim('queue'),
      make('v1', 'Service', 'queue', { spec: { selector: { part: 'queue' }, ports: [{ port: 6379 }] } }),
      workload(
        'Deployment',
        'queue',
        1,
        { securityContext: { runAsUser: 999, fsGroup: 999, fsGroupChangePolicy: 'OnRootMismatch' }, ...mounting('queue')[0] },
        {
          ...{ image: imageName('redis:7'), ...mounting('queue')[1] },
          command: ['sh', '-c', 'exec redis-server --dir /data --appendonly yes --requirepass "$REDIS_PASSWORD"'],
          env: QUEUE_ENV,
          readinessProbe: { exec: { command: ['sh', '-c', `${QUEUE_CLI} ping | grep PONG`] } },
        },
        { strategy: { type: 'Recreate' } },
      ),
      workload(
        'Deployment',
        'consumer',
        2,
        {},
        {
          image: imageName('redis:7'),
          command: ['sh', '-c', `while :; do ${QUEUE_CLI} -h queue BLPOP mail 1 >/tmp/seen; done`],
          env: QUEUE_ENV,
          readinessProbe: { exec: { command: ['sh', '-c', `${QUEUE_CLI} -h queue ping | grep PONG`] } },
        },
      ),
      make('policy/v1', 'PodDisruptionBudget', 'consumer', { spec: { minAvailable: 1, selector: { matchLabels: { part: 'consumer' } } } }),
    ],
    fill: [
      {
        in: 'deployment/queue',
        script: `for n in $(seq 1000); do echo "RPUSH orders order-$n"; echo "XADD log * n $n"; done | ${QUEUE_CLI} >/tmp/filled`,
      },
    ],
    data: [
      { in: 'deployment/queue', script: `${QUEUE_CLI} LRANGE orders 0 -1 | sha256sum; ${QUEUE_CLI} XRANGE log - + | sha256sum` },
      { in: 'deployment/queue', script: `[ "$(${QUEUE_CLI} LLEN orders)$(${QUEUE_CLI} XLEN log)" = 10001000 ]` },
    ],
    ready: ['deployment/queue', 'deployment/consumer'],
    there: ['poddisruptionbudget/consumer'],
  },
  {
    name: 'Ingress with TLS, autoscaler, network policy',
    objects: async () => [
      claim('site'),
      (await certificateFor('site.example', 'tls')).secret,
      service('site', 'site'),
      workload('Deployment', 'site', 1, ...mounting('site'), { strategy: { type: 'Recreate' } }),
      make('networking.k8s.io/v1', 'Ingress', 'site', {
        spec: {
          tls: [{ hosts: ['site.example'], secretName: 'tls' }],
          rules: [
            {
              host: 'site.example',
              http: { paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 'site', port: { number: 80 } } } }] },
            },
          ],
        },
      }),
      make('autoscaling/v2', 'HorizontalPodAutoscaler', 'site', {
        spec: {
          scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'site' },
          minReplicas: 1,
          maxReplicas: 2,
          metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } }],
        },
      }),
      make('networking.k8s.io/v1', 'NetworkPolicy', 'site', {
        spec: { podSelector: { matchLabels: { part: 'site' } }, policyTypes: ['Ingress'], ingress: [{}] },
      }),
    ],
    data: [{ in: 'deployment/site', path: '/data' }],
    ready: ['deployment/site'],
    there: ['ingress/site', 'horizontalpodautoscaler/site', 'networkpolicy/site', 'secret/tls'],
  },
  {
    name: 'database that an operator makes',
    objects: (namespace) => [
      definitionOf(LEDGER),
      ...operatorOf([LEDGER], namespace, LABELS),
      make('corpus.example/v1', 'Ledger', 'books', {
        spec: {
          objects: [
            // Made once, and in the database from then on: another one would not open it.
            make('v1', 'Secret', 'books', { stringData: { password: '$(random)' } }),
            make('v1', 'Service', 'books', { spec: { clusterIP: 'None', selector: { part: 'books' }, ports: [{ port: 5432 }] } }),
            workload(
              'StatefulSet',
              'books',
              1,
              { securityContext: { runAsUser: 999, runAsGroup: 999, fsGroup: 999, fsGroupChangePolicy: 'OnRootMismatch' } },
              {
                ...{ image: imageName('postgres:15'), command: undefined },
                env: [
                  { name: 'POSTGRES_DB', value: 'books' },
                  { name: 'POSTGRES_PASSWORD', valueFrom: { secretKeyRef: { name: 'books', key: 'password' } } },
                ],
                readinessProbe: { exec: { command: ['pg_isready', '-d', 'books'] }, periodSeconds: 2 },
                volumeMounts: [{ name: 'data', mountPath: '/var/lib/postgresql/data' }],
              },
              { serviceName: 'books', volumeClaimTemplates: [{ metadata: { name: 'data' }, spec: claimSpec() }] },
            ),
          ],
        },
      }),
    ],
    fill: [
      { in: 'statefulset/books', script: BOOKS('create table entries as select n, md5(n::text) item from generate_series(1, 5000) n') },
    ],
    data: [{ in: 'statefulset/books', script: BOOKS("select count(*), md5(string_agg(n || item, ',' order by n)) from entries") }],
    ready: ['deployment/operator', 'statefulset/books'],
    there: ['ledgers.corpus.example/books', 'service/books'],
  },
  {
    name: 'Helm release',
    objects: (namespace) => {
      const helm = {
        labels: { ...LABELS, 'app.kubernetes.io/managed-by': 'Helm' },
        annotations: { 'meta.helm.sh/release-name': 'blog', 'meta.helm.sh/release-namespace': namespace },
      };
      const owned = (object: KubeObject): KubeObject => ({ ...object, metadata: { ...object.metadata, ...helm } });
      return [
        make(
          'v1',
          'Secret',
          'sh.helm.release.v1.blog.v1',
          { type: 'helm.sh/release.v1', stringData: { release: 'H4sIAAAAAAAA' } },
          { labels: { name: 'blog', owner: 'helm', status: 'deployed', version: '1' } },
        ),
        owned(claim('blog')),
        owned(make('v1', 'ConfigMap', 'blog', { data: { 'blog.ini': `url = http://blog.${namespace}.svc\n` } })),
        owned(service('blog', 'blog')),
        owned(workload('Deployment', 'blog', 1, ...mounting('blog'), { strategy: { type: 'Recreate' } })),
      ];
    },
    data: [{ in: 'deployment/blog', path: '/data' }],
    ready: ['deployment/blog'],
    there: ['secret/sh.helm.release.v1.blog.v1', 'configmap/blog'],
  },
  {
    name: 'Jobs and CronJobs',
    objects: () => [
      claim('ledger'),
      workload('Deployment', 'ledger', 1, ...mounting('ledger'), { strategy: { type: 'Recreate' } }),
      make('batch/v1', 'CronJob', 'nightly', {
        spec: {
          schedule: '0 3 * * *',
          jobTemplate: { spec: { template: template({}, { restartPolicy: 'Never', ...mounting('ledger')[0] }, mounting('ledger')[1]) } },
        },
      }),
      make('batch/v1', 'Job', 'migration', { spec: { suspend: true, template: template({}, { restartPolicy: 'Never' }) } }),
      make('batch/v1', 'Job', 'import', { spec: { template: template({}, { restartPolicy: 'Never' }) } }),
      make('batch/v1', 'Job', 'setup', {
        spec: { template: template({}, { restartPolicy: 'Never' }, { command: [nodeInImage, '--version'] }) },
      }),
    ],
    data: [{ in: 'deployment/ledger', path: '/data' }],
    ready: ['deployment/ledger'],
    there: ['cronjob/nightly', 'job/migration', 'job/import'],
    leftOut: ['job/setup'],
  },
  {
    name: 'block volume',
    objects: () => [
      claim('disk', { volumeMode: 'Block' }),
      workload(
        'Deployment',
        'disk',
        1,
        { volumes: [{ name: 'disk', persistentVolumeClaim: { claimName: 'disk' } }] },
        { securityContext: { runAsUser: 0 }, volumeDevices: [{ name: 'disk', devicePath: '/dev/corpus' }] },
        { strategy: { type: 'Recreate' } },
      ),
    ],
    data: [{ in: 'deployment/disk', path: '/dev/corpus' }],
    ready: ['deployment/disk'],
  },
  {
    name: 'a claim shared by two workloads',
    objects: () => [
      claim('shared', { accessModes: ['ReadWriteMany'] }),
      workload('Deployment', 'writer', 1, ...mounting('shared')),
      workload('Deployment', 'reader', 1, ...mounting('shared')),
    ],
    data: [
      { in: 'deployment/writer', path: '/data' },
      { in: 'deployment/reader', path: '/data' },
    ],
    ready: ['deployment/writer', 'deployment/reader'],
  },
  {
    name: 'a claim without a pod',
    objects: () => [claim('archive'), make('v1', 'Pod', 'writer', { spec: podSpec(...mounting('archive')) })],
    data: [{ in: 'pod/writer', path: '/data' }],
    ready: [],
    writer: 'writer',
    there: ['persistentvolumeclaim/archive'],
  },
  {
    // Nothing starts in its namespace unless it answers, itself included.
    name: 'webhook of its own',
    objects: async (namespace) => {
      const { secret, caBundle } = await certificateFor(`guard.${namespace}.svc`, 'guard');
      const [{ volumes }, { volumeMounts }] = mounting('rules') as [Record<string, object[]>, Record<string, object[]>];
      return [
        claim('rules'),
        secret,
        programOf('guard', { name: 'guard', labels: LABELS }),
        service('guard', 'guard', { ports: [{ port: 443, targetPort: 8443 }] }),
        workload(
          'Deployment',
          'guard',
          1,
          {
            volumes: [
              ...(volumes ?? []),
              { name: 'tls', secret: { secretName: 'guard' } },
              { name: 'program', configMap: { name: 'guard' } },
            ],
          },
          {
            command: [nodeInImage, '/program/guard.mjs'],
            readinessProbe: { httpGet: { scheme: 'HTTPS', path: '/', port: 8443 }, periodSeconds: 1 },
            volumeMounts: [...(volumeMounts ?? []), { name: 'tls', mountPath: '/tls' }, { name: 'program', mountPath: '/program' }],
          },
          { strategy: { type: 'Recreate' } },
        ),
        {
          apiVersion: 'admissionregistration.k8s.io/v1',
          kind: 'ValidatingWebhookConfiguration',
          metadata: { name: `guard-${namespace}`, labels: LABELS },
          webhooks: [
            {
              ...{ name: 'guard.corpus.example', failurePolicy: 'Fail', sideEffects: 'None', admissionReviewVersions: ['v1'] },
              clientConfig: { service: { namespace, name: 'guard', path: '/' }, caBundle },
              namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
              rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps', 'pods'] }],
            },
          ],
        },
      ];
    },
    data: [{ in: 'deployment/guard', path: '/data' }],
    ready: ['deployment/guard'],
    refuses: make('v1', 'ConfigMap', 'wrong', {}, { labels: { 'corpus.example/forbidden': '' } }),
  },
  {
    name: 'DaemonSet, quota and limits',
    objects: () => [
      claim('spool'),
      make('v1', 'ResourceQuota', 'all', { spec: { hard: { persistentvolumeclaims: '5', pods: '20' } } }),
      make('v1', 'LimitRange', 'all', { spec: { limits: [{ type: 'Container', defaultRequest: { cpu: '10m' } }] } }),
      workload('DaemonSet', 'agent', undefined),
      workload('Deployment', 'spool', 1, ...mounting('spool'), { strategy: { type: 'Recreate' } }),
    ],
    data: [{ in: 'deployment/spool', path: '/data' }],
    ready: ['daemonset/agent', 'deployment/spool'],
    there: ['resourcequota/all', 'limitrange/all'],
  },
];
