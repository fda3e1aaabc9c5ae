import { rm, writeFile } from 'node:fs/promises';
import {
  checkPassphrase,
  chooseRepositories,
  DmaasError,
  formatRecoveryKey,
  keyFrom,
  newRecoveryKey,
  parseKey,
  parseRecipient,
  withLocationKeyRing,
  withTargetKeyRing,
  type KeyInfo,
  type KeyRing,
  type Recipient,
} from '@dmaas/core';
import type { Args } from '../args.ts';
import type { Command, Flag } from '../command.ts';
import { LOCATION_FLAGS } from '../location-flags.ts';
import { table, type Column } from '../output.ts';
import { readTextFile } from '../read-text-file.ts';
import { REPOSITORY_FLAGS } from '../repository-flags.ts';
import type { Session } from '../session.ts';
import { backupScope } from './backup.ts';

const WHICH: readonly Flag[] = [...LOCATION_FLAGS, ...REPOSITORY_FLAGS];
const KEY_ID = { name: 'ID', describe: 'Id of a key, as "key list" shows it', required: true } as const;

const WHO: readonly Column<KeyInfo>[] = [
  { title: 'ID', cell: ({ id }) => id },
  { title: 'KIND', cell: ({ kind }) => KINDS[kind] ?? kind },
  { title: 'LABEL', cell: ({ label }) => label },
];
const COLUMNS: readonly Column<KeyInfo>[] = [
  ...WHO,
  { title: 'CURRENT', cell: ({ isCurrent }) => (isCurrent ? 'yes' : 'no') },
  { title: 'ADDED-BY', cell: ({ isVouchedFor }) => (isVouchedFor ? 'a key holder' : 'unknown') },
];
const KINDS: Readonly<Record<string, string>> = { key: 'key file', passphrase: 'passphrase', x25519: 'recovery key' };

/** The keys of the repository that the flags name: by its URL, or of this namespace in a location. */
async function withKeyRing<T>(session: Session, args: Args, use: (ring: KeyRing) => Promise<T>): Promise<T> {
  const call = { signal: session.signal };
  if (args.string('repository') !== undefined) return withTargetKeyRing(await session.repositoryTarget(), session.stores, use, call);
  const access = await session.location();
  const source =
    args.string('location-file') === undefined
      ? { clusterId: await (await session.cluster()).id(), namespace: await session.namespace() }
      : chooseSource(
          (await chooseRepositories(access, await backupScope(session, args), session.stores, call)).repositories,
          args.string('context'),
        );
  return withLocationKeyRing(access, source, session.stores, use, call);
}

type Source = Omit<Awaited<ReturnType<typeof chooseRepositories>>['repositories'][number], 'directory'>;

/** With a location file no cluster says whose repository is meant, but -n and --context do, unless there is only one. */
export function chooseSource(sources: readonly Source[], context: string | undefined): Source {
  const matching = sources.filter((source) => context === undefined || context === source.context || context === source.clusterId);
  const [source, ...more] = matching;
  if (source !== undefined && more.length === 0) return source;
  const names = (source === undefined ? sources : matching).map((s) => `-n ${s.namespace} --context ${s.context ?? s.clusterId}`);
  throw new DmaasError(
    'USAGE',
    source === undefined ? `no repository is of context ${String(context)}` : 'it is not said whose repository is meant',
    {
      hint: `choose one: ${[...new Set(names)].sort().join(', ')}; the id of a cluster does for --context, too`,
    },
  );
}

export const keyList: Command = {
  path: ['key', 'list'],
  summary: 'List who can open a repository',
  flags: WHICH,
  output: true,
  run: (session, args) =>
    withKeyRing(session, args, async (ring) => {
      const keys = await ring.list({ signal: session.signal });
      return { data: { epoch: ring.epoch, items: keys }, names: keys.map(({ id }) => `key/${id}`), text: table(keys, COLUMNS) };
    }),
};

export const keyAdd: Command = {
  path: ['key', 'add'],
  summary: 'Let another key, passphrase or recovery key open a repository',
  description:
    'Lets another key, passphrase or recovery key open a repository: everything in it, and what is written later. A recovery key is kept where no backup runs; only its public half is needed here.',
  flags: [
    ...WHICH,
    { name: 'label', type: 'string', value: 'TEXT', describe: 'For people; it stands in the bucket in the clear' },
    { name: 'new-passphrase-file', type: 'string', value: 'FILE', describe: 'A file that holds the new passphrase; - asks for it' },
    { name: 'new-key-file', type: 'string', value: 'FILE', describe: 'A file that holds another key' },
    {
      name: 'new-recovery-key',
      type: 'string',
      value: 'FILE',
      describe: 'Make a recovery key, write its secret half to this new file, and keep it elsewhere',
    },
    { name: 'recipient', type: 'string', value: 'TEXT', describe: 'The public half of a recovery key: dmaas-recipient-1-…' },
  ],
  output: true,
  examples: [
    [
      'A passphrase, typed',
      'key add --new-passphrase-file - --label safe --repository file:///mnt/backup/repository --key-file ~/dmaas.key',
    ],
    ['A recovery key', 'key add --new-recovery-key recovery.txt -n shop'],
  ],
  run: (session, args) =>
    withKeyRing(session, args, async (ring) => {
      const recipient = await newRecipient(session, args);
      const file = args.string('new-recovery-key');
      const key = await withoutLeftover(file, ring.add(recipient, args.string('label') ?? '', { signal: session.signal }));
      return {
        data: key,
        names: [`key/${key.id}`],
        text: () => `key/${key.id} added`,
        notes: file === undefined ? [] : [`the secret half is in ${file}: move it to a safe place, away from this machine`],
      };
    }),
};

/** A recovery key that opens nothing, left behind, would be taken for one that does. */
export async function withoutLeftover<T>(file: string | undefined, adding: Promise<T>): Promise<T> {
  try {
    return await adding;
  } catch (e) {
    if (file === undefined || !DmaasError.is(e)) throw e;
    if (e.code === 'STORE_ACCESS' || e.code === 'STORE_NOT_FOUND') {
      await rm(file, { force: true });
      throw e;
    }
    throw new DmaasError(e.code, e.message, {
      cause: e,
      hint: `whether ${file} opens the repository is not known: try it with --repository and --key-file, and delete it if it does not`,
    });
  }
}

async function newRecipient(session: Session, args: Args): Promise<Recipient> {
  const passphrase = await session.passphrase('new-passphrase-file', 'new passphrase', { isNew: true });
  const keyFile = args.string('new-key-file');
  const [recoveryFile, recipient] = [args.string('new-recovery-key'), args.string('recipient')];
  const given = [passphrase, keyFile, recoveryFile, recipient].filter((value) => value !== undefined);
  if (given.length !== 1) {
    throw new DmaasError('USAGE', 'one of --new-passphrase-file, --new-key-file, --new-recovery-key and --recipient is needed', {
      hint: 'kubectl dmaas key add --help',
    });
  }
  if (passphrase !== undefined) return { passphrase: checkPassphrase(passphrase) };
  if (keyFile !== undefined) {
    const text = await readTextFile(keyFile);
    return { key: keyFrom(keyFile, () => parseKey(text), 'USAGE') };
  }
  if (recipient !== undefined) return { publicKey: keyFrom('--recipient', () => parseRecipient(recipient), 'USAGE') };
  const { privateKey, publicKey } = newRecoveryKey();
  const file = recoveryFile as string;
  try {
    await writeFile(file, `${formatRecoveryKey(privateKey)}\n`, { flag: 'wx', mode: 0o600, flush: true });
  } catch (cause) {
    throw new DmaasError('USAGE', `${file} cannot be written; it must be a new file`, { cause });
  }
  return { publicKey };
}

export const keyRemove: Command = {
  path: ['key', 'remove'],
  aliases: ['delete'],
  summary: 'Take away a key that was added',
  description:
    'Takes away a key that was added. Whoever kept a copy of the wrapped key still opens what is there and what is written with the same key epoch: "key rotate" shuts them out of what is written later.',
  positionals: [KEY_ID],
  flags: [...WHICH, { name: 'yes', short: 'y', type: 'boolean', describe: 'Do not ask' }],
  run: (session, args) =>
    withKeyRing(session, args, async (ring) => {
      const id = args.need('ID');
      await session.confirm(`Remove the key ${id}?`);
      await ring.remove(id, { signal: session.signal });
      return { text: () => `key/${id} removed`, notes: ['kubectl dmaas key rotate begins new keys that it does not open'] };
    }),
};

export const keyRotate: Command = {
  path: ['key', 'rotate'],
  summary: 'Begin new keys for what is written from now on',
  description:
    'Begins a new epoch of keys: what is written from now on opens for the key in use, for recovery keys, and for those whose key files or passphrases are given. What is there already stays readable for everybody who could read it; prune rewrites it with the new keys as it goes.',
  flags: [
    ...WHICH,
    { name: 'with-key-file', type: 'list', value: 'FILE', describe: 'Another key that keeps access; can be repeated' },
    { name: 'with-passphrase-file', type: 'string', value: 'FILE', describe: 'A passphrase that keeps access; - asks for it' },
    {
      name: 'with-recipient',
      type: 'list',
      value: 'TEXT',
      describe: 'The public half of a recovery key that keeps access although "key list" does not know who added it; can be repeated',
    },
    { name: 'without', type: 'list', value: 'ID', describe: 'A key that loses access to what is written later; can be repeated' },
  ],
  output: true,
  run: (session, args) =>
    withKeyRing(session, args, async (ring) => {
      const others: Recipient[] = [];
      for (const file of args.list('with-key-file')) {
        const text = await readTextFile(file);
        others.push({ key: keyFrom(file, () => parseKey(text)) });
      }
      for (const text of args.list('with-recipient'))
        others.push({ publicKey: keyFrom('--with-recipient', () => parseRecipient(text), 'USAGE') });
      const passphrase = await session.passphrase('with-passphrase-file', 'passphrase that keeps access');
      if (passphrase !== undefined) others.push({ passphrase });
      const { epoch, keys } = await ring.rotate(others, new Set(args.list('without')), { signal: session.signal });
      return {
        data: { epoch, items: keys },
        names: keys.map(({ id }) => `key/${id}`),
        text: (how) => `key epoch ${epoch} begun; what is written from now on opens for\n${table(keys, WHO)(how)}`,
      };
    }),
};
