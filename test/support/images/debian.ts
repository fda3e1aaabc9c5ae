import { cached, digest } from '../setup/cache.ts';
import { run } from '../setup/command.ts';
import { ensurePrograms } from '../setup/debian.ts';
import { step } from '../setup/progress.ts';
import { cachedLayer, type Layer } from './layer.ts';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

const OPTIONS = [
  ...['--quiet', '--variant=minbase', '--format=tar', `--keyring=${KEYRING}`],
  '--aptopt=APT::Install-Recommends "false"',
  '--aptopt=Acquire::Languages "none"',
  ...['man', 'doc', 'locale'].map((folder) => `--dpkgopt=path-exclude=/usr/share/${folder}/*`),
  '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*',
];

/** A minimal Debian and what is installed on it. */
export interface DebianImage {
  readonly name: string;
  /** Debian 12 when absent. */
  readonly suite?: string;
  readonly packages: readonly string[];
  /** Users to make before the packages are installed, with a group of their own, and their ids. */
  readonly users?: Readonly<Record<string, number>>;
  /** More options of mmdebstrap. */
  readonly options?: readonly string[];
}

/** Its layer, made again only when what it is made of changes, not when Debian publishes a fix. */
export function debianLayer({ name, suite = 'bookworm', packages, users = {}, options = [] }: DebianImage): Promise<Layer> {
  const added = Object.entries(users).flatMap(([user, id]) => [
    `--essential-hook=echo '${user}:x:${id}:' >>"$1/etc/group"`,
    `--essential-hook=echo '${user}:x:${id}:${id}:${user}:/tmp:/bin/bash' >>"$1/etc/passwd"`,
  ]);
  const all = [...OPTIONS, `--include=${packages.join(',')}`, ...added, ...options];
  return cachedLayer(`${name}-debian`, digest(suite, ...all), async (file) => {
    await ensurePrograms({ mmdebstrap: 'mmdebstrap', [KEYRING]: 'debian-archive-keyring' });
    await step(`making the image ${name}`, () => run('mmdebstrap', [...all, suite, file], { env: { SOURCE_DATE_EPOCH: '0' } }));
  });
}

/** The directory with the files of a layer, for programs that run without a cluster. */
export async function unpacked(name: string, layer: Layer): Promise<string> {
  return cached(`root-${name}`, layer.digest, async (target) => {
    await run('tar', ['--extract', '--preserve-permissions', '--numeric-owner', '--file', layer.file, '--directory', target]);
  });
}
