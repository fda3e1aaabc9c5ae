import { join } from 'node:path';
import { debianLayer } from './debian.ts';
import { makeLayer } from './layer.ts';
import { imageName } from './names.ts';
import { copyOf } from './node-layer.ts';
import { type Image, makeImage } from './oci.ts';

/** The user id of the official image. */
const USER = 999;

/** Debian's PostgreSQL on a minimal Debian. */
const DEBIAN = {
  name: 'postgres',
  packages: ['postgresql-15', 'curl', 'procps'],
  users: { postgres: USER },
  options: [
    // The just-in-time compiler, half of the image. PostgreSQL does without when it is not there.
    ...['/usr/lib/*/libLLVM*', '/usr/lib/*/libz3*', '/usr/lib/postgresql/15/lib/llvmjit.so', '/usr/lib/postgresql/15/lib/bitcode/*'].map(
      (path) => `--dpkgopt=path-exclude=${path}`,
    ),
    '--customize-hook=rm -rf "$1"/var/lib/postgresql/15',
  ],
};

/** PostgreSQL 15 that behaves as the official image does, as far as the tests need: see postgres-entrypoint. */
export async function buildPostgresImage(): Promise<Image> {
  const script = copyOf(join(import.meta.dirname, 'postgres-entrypoint'), 0o755);
  const layers = [await debianLayer(DEBIAN), await makeLayer('postgres', new Map([['/usr/local/bin/postgres-entrypoint', script]]))];
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
