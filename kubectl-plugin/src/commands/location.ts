import { writeFile } from 'node:fs/promises';
import {
  checkLocation,
  createLocation,
  deleteLocation,
  DmaasError,
  exportLocation,
  getLocation,
  getLocationAccess,
  importLocation,
  listLocations,
  listRepositories,
  openedByKey,
  parseLocationDocument,
  recoverDocument,
  setDefaultLocation,
  summarizeLocation,
  type LocationDocument,
  type LocationSummary,
  formatAge,
} from '@dmaas/core';
import { stringify } from 'yaml';
import type { Command, Completer } from '../command.ts';
import { noteFindings } from '../findings.ts';
import { details, table, type Column, type Result } from '../output.ts';
import { STORE_FLAGS } from '../repository-flags.ts';
import { completeCredentials } from './credential.ts';

export const completeLocations: Completer = async (session) => {
  const { locations } = await listLocations(await session.cluster(), await session.places());
  return locations.map((l) => ({ value: l.name, describe: l.bucket }));
};

const NAME = { name: 'NAME', describe: 'A letter, then letters, digits and "-"; at most 24 characters', required: true } as const;
const NEW_FILE = {
  name: 'file',
  short: 'f',
  type: 'string',
  value: 'FILE',
  describe: 'New file, readable by you only; default is standard output',
} as const;
const YES = { name: 'yes', short: 'y', type: 'boolean', describe: 'Do not ask' } as const;

export const locationCreate: Command = {
  path: ['location', 'create'],
  summary: 'Name a bucket for backups and make the key that encrypts them',
  description:
    'Names a bucket for backups and makes the key that encrypts them. Without that key nobody can read the backups: keep a copy of it outside the cluster ("location export"). With --key-file it takes the key of a location that was made before, and tries it on what the bucket holds.',
  positionals: [NAME],
  flags: [
    { name: 'credential', type: 'string', value: 'TITLE', describe: 'Credential that opens the bucket', complete: completeCredentials },
    { name: 'bucket', type: 'string', value: 'NAME', describe: 'The bucket; it must exist' },
    { name: 'prefix', type: 'string', value: 'PATH', describe: 'Folder in the bucket' },
    { name: 'region', type: 'string', value: 'REGION', describe: 'Region of the bucket' },
    { name: 'key-file', type: 'string', value: 'FILE', describe: 'A file that holds the key of the backups that are there; - asks for it' },
    { name: 'default', type: 'boolean', describe: 'Use it where no location is named' },
    { name: 'no-check', type: 'boolean', describe: 'Do not try the bucket' },
  ],
  output: true,
  examples: [
    ['A bucket of AWS', 'location create s3-eu --credential prod-aws --bucket acme-backups --region eu-central-1'],
    ['A MinIO, in a folder of its bucket', 'location create lab --credential minio --bucket backups --prefix team-a'],
    ['Backups of a cluster that is gone', 'location create s3-eu --credential prod-aws --bucket acme-backups --key-file key.txt'],
  ],
  run: async (session, args) => {
    const cluster = await session.cluster();
    const prefix = args.string('prefix');
    const region = args.string('region');
    const importKey = await session.passphrase('key-file', 'key of the location');
    const created = await createLocation(cluster, await session.places(), {
      name: args.need('NAME'),
      credential: args.need('credential', 'kubectl dmaas credential list'),
      bucket: args.need('bucket'),
      ...(importKey === undefined ? {} : { importKey }),
      ...(prefix === undefined ? {} : { prefix }),
      ...(region === undefined ? {} : { region }),
    });
    const notes: string[] = [];
    try {
      if (!args.bool('no-check')) {
        const access = await getLocationAccess(cluster, await session.places(), created.name);
        const call = { signal: session.signal };
        await assertChecks(await checkLocation(access, session.stores, call), created.bucket);
        if (importKey !== undefined) notes.push(holdsNote(await openedByKey(access, session.stores, call)));
      }
      if (args.bool('default')) await setDefaultLocation(cluster, created.name, created.namespace);
    } catch (e) {
      await deleteLocation(cluster, created.name, created.namespace); // nothing half-done
      throw e;
    }
    notes.push(
      `keep a copy of its key outside the cluster: kubectl dmaas location export ${created.name} -n ${created.namespace} -f ${created.name}.yaml`,
    );
    return {
      data: summarizeLocation(created),
      names: [`location/${created.name}`],
      text: () => `location/${created.name} created in namespace ${created.namespace} (bucket ${created.bucket})`,
      notes,
    };
  },
};

type Checks = Awaited<ReturnType<typeof checkLocation>>;

function assertChecks(checks: Checks, bucket: string): Promise<void> {
  const failed = checks.filter((c) => !c.ok);
  const [first] = failed;
  if (first === undefined) return Promise.resolve();
  return Promise.reject(
    new DmaasError('PREFLIGHT_FAILED', `bucket ${bucket} cannot be used: ${first.detail === '' ? first.name : first.detail}`, {
      hint: 'check the bucket, its region and the rights of the credential; --no-check creates the location all the same',
    }),
  );
}

const COLUMNS: readonly Column<LocationSummary & { now: Date }>[] = [
  { title: 'NAME', cell: (l) => `${l.name}${l.isDefault ? ' (default)' : ''}` },
  { title: 'BUCKET', cell: (l) => (l.prefix === '' ? l.bucket : `${l.bucket}/${l.prefix}`) },
  { title: 'CREDENTIAL', cell: (l) => l.credential },
  { title: 'REGION', cell: (l) => l.region ?? '<unset>', wide: true },
  { title: 'NAMESPACE', cell: (l) => l.namespace },
  { title: 'AGE', cell: (l) => formatAge(l.createdAt, l.now) },
];

export const locationList: Command = {
  path: ['location', 'list'],
  aliases: ['get'],
  summary: 'List locations of this namespace and of the home namespace',
  output: true,
  run: async (session) => {
    const { locations, findings } = await listLocations(await session.cluster(), await session.places());
    const now = session.now();
    const empty = locations.length === 0 ? [`no locations in ${(await session.searched()).join(' or ')}`] : [];
    return {
      data: { items: locations, findings },
      names: locations.map((l) => `location/${l.name}`),
      text:
        locations.length === 0
          ? () => ''
          : table(
              locations.map((l) => ({ ...l, now })),
              COLUMNS,
            ),
      notes: [...empty, ...noteFindings(findings)],
    };
  },
};

export const locationDescribe: Command = {
  path: ['location', 'describe'],
  summary: 'Show a location, and whose backups it holds',
  positionals: [{ ...NAME, complete: completeLocations }],
  output: true,
  run: async (session, args) => {
    const access = await getLocationAccess(await session.cluster(), await session.places(), args.need('NAME'));
    const { repositories, others } = await listRepositories(access, session.stores, { signal: session.signal });
    const l = summarizeLocation(access.location);
    return {
      data: { ...l, repositories, others },
      names: [`location/${l.name}`],
      text: () =>
        details([
          ['Name', l.name],
          ['Namespace', l.namespace],
          ['Bucket', l.bucket],
          ['Prefix', l.prefix === '' ? '<none>' : l.prefix],
          ['Region', l.region ?? '<unset>'],
          ['Credential', `${l.credential} (namespace ${l.credentialNamespace})`],
          ['Default', l.isDefault ? 'yes' : 'no'],
          [
            'Holds backups of',
            repositories.length === 0
              ? '<none>'
              : repositories.map((r) => `namespace ${r.namespace} of cluster ${r.context ?? r.clusterId}`).join('\n'),
          ],
          ...(others > 0 ? [['Under other keys', String(others)] as const] : []),
        ]),
    };
  },
};

export const locationCheck: Command = {
  path: ['location', 'check'],
  summary: 'Try everything that backups need of the bucket',
  positionals: [{ ...NAME, complete: completeLocations }],
  output: true,
  run: async (session, args) => {
    const access = await getLocationAccess(await session.cluster(), await session.places(), args.need('NAME'));
    const checks = await checkLocation(access, session.stores, { signal: session.signal });
    const failed = checks.filter((c) => !c.ok).length;
    return {
      data: { location: access.location.name, checks },
      text: () => checks.map((c) => `${c.ok ? '✔' : '✗'} ${c.name}${c.detail === '' ? '' : `: ${c.detail}`}`).join('\n'),
      notes: [failed === 0 ? `location ${access.location.name} can be used` : `${failed} of ${checks.length} checks failed`],
      exitCode: failed === 0 ? 0 : 40,
    };
  },
};

export const locationSetDefault: Command = {
  path: ['location', 'set-default'],
  summary: 'Use this location where none is named',
  positionals: [{ ...NAME, complete: completeLocations }],
  run: async (session, args) => {
    const cluster = await session.cluster();
    const l = await getLocation(cluster, await session.places(), args.need('NAME'));
    await setDefaultLocation(cluster, l.name, l.namespace);
    return { text: () => `location/${l.name} is now the default of namespace ${l.namespace}` };
  },
};

export const locationExport: Command = {
  path: ['location', 'export'],
  summary: 'Write a location with its key to a file: what is needed when the cluster is gone',
  description:
    'Writes a location with its key as a YAML document. With it and the access to the bucket every backup can be listed, browsed and restored when the cluster is gone ("--location-file", "location import"). Without the key nobody can. Keep the file where you keep the keys of the company.',
  positionals: [{ ...NAME, complete: completeLocations }],
  flags: [NEW_FILE, { name: 'with-credentials', type: 'boolean', describe: 'Include the access keys of the bucket' }],
  examples: [['For the safe', 'location export s3-eu -f s3-eu.yaml']],
  run: async (session, args) => {
    const access = await getLocationAccess(await session.cluster(), await session.places(), args.need('NAME'));
    return written(exportLocation(access, { withCredentials: args.bool('with-credentials') }), args.string('file'));
  },
};

/** Into a new file, or as the command's output. */
async function written(document: LocationDocument, file: string | undefined): Promise<Result> {
  const text = stringify(document, { lineWidth: 0 });
  if (file === undefined) return { text: () => text };
  try {
    await writeFile(file, text, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    throw new DmaasError('USAGE', `${file} cannot be written, or exists already`, { cause });
  }
  return { notes: [`location ${document.name} written to ${file}`] };
}

export const locationRecover: Command = {
  path: ['location', 'recover'],
  summary: 'Write the file of a location from its bucket and its key alone, without any cluster',
  description:
    'Writes what "location export" would have written, from the URL of the bucket and the bare key (dmaas-key-1-…), after it has tried the key on what the bucket holds. The access keys of the bucket come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or GOOGLE_APPLICATION_CREDENTIALS, and are not written. With the file every backup can be listed, browsed and restored ("--location-file", "location import").',
  positionals: [NAME],
  flags: [
    {
      name: 'url',
      type: 'string',
      value: 'URL',
      describe: 's3://BUCKET[/PREFIX] or gs://BUCKET[/PREFIX]: the folder above the one that a RECOVERY.txt is in',
    },
    { name: 'key-file', type: 'string', value: 'FILE', describe: 'A file that holds the key of the location; - asks for it' },
    NEW_FILE,
    ...STORE_FLAGS,
  ],
  examples: [
    ['All that is left is the bucket and the key', 'location recover s3-eu --url s3://acme-backups/prod --key-file key.txt -f s3-eu.yaml'],
    ['What it holds', 'backup list --location-file s3-eu.yaml'],
  ],
  run: async (session, args) => {
    const store = await session.store(args.need('url', '--url s3://BUCKET[/PREFIX] or gs://BUCKET[/PREFIX]'));
    const key = (await session.passphrase('key-file', 'key of the location')) ?? args.need('key-file');
    const document = recoverDocument(args.need('NAME'), store, key);
    const sources = await openedByKey(await session.access(document), session.stores, { signal: session.signal });
    const result = await written(document, args.string('file'));
    return { ...result, notes: [...(result.notes ?? []), holdsNote(sources)] };
  },
};

function holdsNote(sources: readonly { readonly context?: string; readonly clusterId: string; readonly namespace: string }[]): string {
  const names = sources.map(({ context, clusterId, namespace }) => `${context ?? clusterId}/${namespace}`);
  return `the key opens the backups of ${names.sort().join(', ')}`;
}

export const locationImport: Command = {
  path: ['location', 'import'],
  summary: 'Make a location from what "location export" wrote, here or in another cluster',
  flags: [
    { name: 'file', short: 'f', type: 'string', value: 'FILE', describe: 'The exported location; - is standard input' },
    {
      name: 'credential',
      type: 'string',
      value: 'TITLE',
      describe: 'Credential of this cluster that opens the bucket, when the file holds no access keys',
      complete: completeCredentials,
    },
  ],
  output: true,
  examples: [['On a new cluster', 'location import -f s3-eu.yaml --credential prod-aws']],
  run: async (session, args) => {
    const document = parseLocationDocument(await session.secret('exported location', { file: args.need('file') }));
    const credential = args.string('credential');
    const created = await importLocation(
      await session.cluster(),
      await session.places(),
      document,
      credential === undefined ? {} : { credential },
    );
    return {
      data: summarizeLocation(created),
      names: [`location/${created.name}`],
      text: () => `location/${created.name} created in namespace ${created.namespace} (bucket ${created.bucket})`,
      notes: [`what it holds: kubectl dmaas backup list --everywhere --location ${created.name} -n ${created.namespace}`],
    };
  },
};

export const locationDelete: Command = {
  path: ['location', 'delete'],
  summary: 'Forget a location; the backups in its bucket stay',
  positionals: [{ ...NAME, complete: completeLocations }],
  flags: [YES],
  run: async (session, args) => {
    const cluster = await session.cluster();
    const l = await getLocation(cluster, await session.places(), args.need('NAME'));
    await session.confirm(
      `Delete location ${l.name} of namespace ${l.namespace}? Its key goes with it: without a copy ("location export") the backups can't be read any more.`,
    );
    await deleteLocation(cluster, l.name, l.namespace);
    return { text: () => `location/${l.name} deleted; the backups in bucket ${l.bucket} are untouched` };
  },
};
