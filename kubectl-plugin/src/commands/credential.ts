import {
  assertTitle,
  createCredential,
  deleteCredential,
  DmaasError,
  getCredential,
  listCredentials,
  summarizeCredential,
  type CredentialSummary,
  formatAge,
} from '@dmaas/core';
import type { Args } from '../args.ts';
import type { Command, Completer, Flag } from '../command.ts';
import { details, table, type Column } from '../output.ts';
import { noteFindings } from '../findings.ts';
import { readTextFile } from '../read-text-file.ts';
import type { Session } from '../session.ts';

export const completeCredentials: Completer = async (session) => {
  const { credentials } = await listCredentials(await session.cluster(), await session.places());
  return credentials.map((c) => ({ value: c.title, describe: `${c.kind} ${c.identity}` }));
};

const SECRET_FLAGS: readonly Flag[] = [
  { name: 'access-key-id', type: 'string', value: 'ID', describe: 'Access key id; it is not secret. Default: $AWS_ACCESS_KEY_ID' },
  { name: 'secret-from-file', type: 'string', value: 'FILE', describe: 'File with the secret access key; - is standard input' },
  {
    name: 'secret-from-env',
    type: 'string',
    value: 'NAME',
    describe: 'Environment variable with the secret access key. Default: AWS_SECRET_ACCESS_KEY when it is set',
  },
];

const TITLE = { name: 'TITLE', describe: 'A letter, then letters, digits and "-"; at most 24 characters', required: true } as const;

async function keyPair(session: Session, args: Args): Promise<{ accessKeyId: string; secretAccessKey: string }> {
  assertTitle(args.need('TITLE')); // before anybody types a secret
  const env = session.streams.env;
  const accessKeyId = args.string('access-key-id') ?? env['AWS_ACCESS_KEY_ID'];
  if (accessKeyId === undefined)
    throw new DmaasError('USAGE', '--access-key-id is missing', { hint: 'give the flag or set AWS_ACCESS_KEY_ID' });
  const file = args.string('secret-from-file');
  const fallback = file === undefined && env['AWS_SECRET_ACCESS_KEY'] !== undefined ? 'AWS_SECRET_ACCESS_KEY' : undefined;
  const secret = await session.secret('secret access key', { file, env: args.string('secret-from-env') ?? fallback });
  return { accessKeyId, secretAccessKey: secret.trim() };
}

async function create(session: Session, title: string, values: Readonly<Record<string, unknown>>) {
  const created = summarizeCredential(await createCredential(await session.cluster(), await session.namespace(), title, values));
  return {
    data: created,
    names: [`credential/${created.title}`],
    text: () => `credential/${created.title} created in namespace ${created.namespace} (${created.identity})`,
  };
}

export const credentialCreateAws: Command = {
  path: ['credential', 'create-aws'],
  summary: 'Keep an access key of AWS',
  positionals: [TITLE],
  flags: [
    ...SECRET_FLAGS,
    { name: 'session-token-from-env', type: 'string', value: 'NAME', describe: 'Environment variable with a session token' },
  ],
  output: true,
  examples: [
    ['From the usual environment variables', 'credential create-aws prod-aws'],
    ['With the secret on standard input', 'credential create-aws prod-aws --access-key-id AKIAEXAMPLE --secret-from-file -'],
  ],
  run: async (session, args) => {
    const tokenEnv = args.string('session-token-from-env');
    const token = tokenEnv === undefined ? undefined : await session.secret('session token', { env: tokenEnv });
    return create(session, args.need('TITLE'), {
      kind: 'aws',
      ...(await keyPair(session, args)),
      ...(token === undefined ? {} : { sessionToken: token.trim() }),
    });
  },
};

export const credentialCreateGcp: Command = {
  path: ['credential', 'create-gcp'],
  summary: 'Keep a service account key of Google Cloud',
  positionals: [TITLE],
  flags: [
    {
      name: 'from-file',
      type: 'string',
      value: 'FILE',
      describe: 'JSON key of the service account; - is standard input. Default: $GOOGLE_APPLICATION_CREDENTIALS',
    },
    { name: 'endpoint', type: 'string', value: 'URL', describe: 'Another server that speaks the protocol of Google Cloud Storage' },
  ],
  output: true,
  examples: [['From a key file', 'credential create-gcp prod-gcs --from-file key.json']],
  run: async (session, args) => {
    const file = args.string('from-file') ?? session.streams.env['GOOGLE_APPLICATION_CREDENTIALS'];
    const serviceAccount = await session.secret('service account key', { file });
    const endpoint = args.string('endpoint');
    return create(session, args.need('TITLE'), { kind: 'gcp', serviceAccount, ...(endpoint === undefined ? {} : { endpoint }) });
  },
};

export const credentialCreateS3: Command = {
  path: ['credential', 'create-s3'],
  summary: 'Keep an access key of MinIO, Ceph or another S3-compatible store',
  positionals: [TITLE],
  flags: [
    { name: 'endpoint', type: 'string', value: 'URL', describe: 'Address of the store, as the cluster reaches it' },
    { name: 'virtual-hosts', type: 'boolean', describe: 'Buckets are host names (https://bucket.host) and not paths' },
    {
      name: 'ca-file',
      type: 'string',
      value: 'FILE',
      describe: 'Certificate (PEM) of the authority that the store’s certificate comes from',
    },
    ...SECRET_FLAGS,
  ],
  output: true,
  examples: [
    [
      'A MinIO with its own certificate authority',
      'credential create-s3 minio --endpoint https://minio.example:9000 --ca-file ca.pem --access-key-id backup --secret-from-file -',
    ],
  ],
  run: async (session, args) => {
    const caFile = args.string('ca-file');
    return create(session, args.need('TITLE'), {
      kind: 's3',
      endpoint: args.need('endpoint', 'for example --endpoint https://minio.example:9000'),
      pathStyle: !args.bool('virtual-hosts'),
      ...(caFile === undefined ? {} : { caPem: await readTextFile(caFile) }),
      ...(await keyPair(session, args)),
    });
  },
};

const COLUMNS: readonly Column<CredentialSummary & { now: Date }>[] = [
  { title: 'TITLE', cell: (c) => c.title },
  { title: 'KIND', cell: (c) => c.kind },
  { title: 'IDENTITY', cell: (c) => c.identity },
  { title: 'ENDPOINT', cell: (c) => c.endpoint ?? '<none>' },
  { title: 'NAMESPACE', cell: (c) => c.namespace, wide: true },
  { title: 'AGE', cell: (c) => formatAge(c.createdAt, c.now) },
];

export const credentialList: Command = {
  path: ['credential', 'list'],
  aliases: ['get'],
  summary: 'List credentials of this namespace and of the home namespace',
  output: true,
  run: async (session) => {
    const { credentials, findings } = await listCredentials(await session.cluster(), await session.places());
    const now = session.now();
    const empty = credentials.length === 0 ? [`no credentials in ${(await session.searched()).join(' or ')}`] : [];
    return {
      data: { items: credentials, findings },
      names: credentials.map((c) => `credential/${c.title}`),
      text:
        credentials.length === 0
          ? () => ''
          : table(
              credentials.map((c) => ({ ...c, now })),
              COLUMNS,
            ),
      notes: [...empty, ...noteFindings(findings)],
    };
  },
};

export const credentialDescribe: Command = {
  path: ['credential', 'describe'],
  summary: 'Show a credential without its secrets',
  positionals: [{ ...TITLE, complete: completeCredentials }],
  output: true,
  run: async (session, args) => {
    const c = summarizeCredential(await getCredential(await session.cluster(), args.need('TITLE'), await session.places()));
    return {
      data: c,
      names: [`credential/${c.title}`],
      text: () =>
        details([
          ['Title', c.title],
          ['Namespace', c.namespace],
          ['Kind', c.kind],
          ['Identity', c.identity],
          ['Endpoint', c.endpoint ?? '<none>'],
          ['Own CA', c.hasCa ? 'yes' : 'no'],
          ['Created', c.createdAt ?? '<unknown>'],
        ]),
    };
  },
};

export const credentialDelete: Command = {
  path: ['credential', 'delete'],
  summary: 'Delete a credential that no location uses',
  positionals: [{ ...TITLE, complete: completeCredentials }],
  flags: [{ name: 'yes', short: 'y', type: 'boolean', describe: 'Do not ask' }],
  run: async (session, args) => {
    const title = args.need('TITLE');
    const cluster = await session.cluster();
    const { namespace } = await getCredential(cluster, title, await session.places());
    await session.confirm(`Delete credential ${title} of namespace ${namespace}?`);
    await deleteCredential(cluster, title, namespace);
    return { text: () => `credential/${title} deleted` };
  },
};
