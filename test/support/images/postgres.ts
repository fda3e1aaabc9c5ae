import { join } from 'node:path';
import { digest } from '../setup/cache.ts';
import { run } from '../setup/command.ts';
import { ensurePrograms } from '../setup/debian.ts';
import { step } from '../setup/progress.ts';
import { cachedLayer, type Layer, makeLayer } from './layer.ts';
import { imageName } from './names.ts';
import { copyOf } from './node-layer.ts';
import { type Image, makeImage } from './oci.ts';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const SUITE = 'bookworm';
const PACKAGES = ['postgresql-15', 'curl', 'procps'];
/** The user id of the official image. */
const USER = 999;

const OPTIONS = [
  ...['--quiet', '--variant=minbase', '--format=tar', `--keyring=${KEYRING}`],
  `--include=${PACKAGES.join(',')}`,
  '--aptopt=APT::Install-Recommends "false"',
  '--aptopt=Acquire::Languages "none"',
  ...['man', 'doc', 'locale'].map((folder) => `--dpkgopt=path-exclude=/usr/share/${folder}/*`),
  // The just-in-time compiler, half of the image. PostgreSQL does without when it is not there.
  ...['/usr/lib/*/libLLVM*', '/usr/lib/*/libz3*', '/usr/lib/postgresql/15/lib/llvmjit.so', '/usr/lib/postgresql/15/lib/bitcode/*'].map(
    (path) => `--dpkgopt=path-exclude=${path}`,
  ),
  `--essential-hook=echo 'postgres:x:${USER}:' >>"$1/etc/group"`,
  `--essential-hook=echo 'postgres:x:${USER}:${USER}:postgres:/var/lib/postgresql:/bin/bash' >>"$1/etc/passwd"`,
  '--customize-hook=rm -rf "$1"/var/lib/postgresql/15 "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*',
];

/** Debian's PostgreSQL on a minimal Debian, made again only when this list changes, not when Debian publishes a fix. */
function debianLayer(): Promise<Layer> {
  return cachedLayer('postgres-debian', digest(SUITE, ...OPTIONS), async (file) => {
    await ensurePrograms({ mmdebstrap: 'mmdebstrap', [KEYRING]: 'debian-archive-keyring' });
    await step('making the PostgreSQL image', () => run('mmdebstrap', [...OPTIONS, SUITE, file], { env: { SOURCE_DATE_EPOCH: '0' } }));
  });
}

/** PostgreSQL 15 that behaves as the official image does, as far as the tests need: see postgres-entrypoint. */
export async function buildPostgresImage(): Promise<Image> {
  const script = copyOf(join(import.meta.dirname, 'postgres-entrypoint'), 0o755);
  const layers = [await debianLayer(), await makeLayer('postgres', new Map([['/usr/local/bin/postgres-entrypoint', script]]))];
  return makeImage(imageName('postgres:15'), layers, {
    entrypoint: ['/usr/local/bin/postgres-entrypoint'],
    env: {
      PATH: '/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      PGDATA: '/var/lib/postgresql/data/pgdata',
      PGHOST: '/tmp',
      PGUSER: 'postgres',
    },
    user: `${USER}:${USER}`,
  });
}
