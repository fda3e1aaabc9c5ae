import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cached } from './cache.ts';
import { attempt, run, SetupError } from './command.ts';
import { ensurePrograms, requireDebian } from './debian.ts';
import { ensureGo, fetchGoModule, goEnvironment } from './go.ts';
import { step } from './progress.ts';

const RESTIC = '0.19.1-1';
const RUSTIC = '0.11.4';
const KOPIA = 'v0.23.1';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/**
 * restic of Debian's unstable, fetched by apt with a source list, package lists and a cache of its own, and unpacked into this
 * cache: nothing of it is installed, and the system's sources stay as they are.
 */
export async function ensureRestic(): Promise<string> {
  const dir = await cached('restic', RESTIC, async (target) => {
    await requireDebian();
    await ensurePrograms({ [KEYRING]: 'debian-archive-keyring', 'dpkg-deb': 'dpkg' });
    await step(`fetching restic ${RESTIC}`, async () => {
      const work = join(target, 'apt');
      for (const folder of ['lists/partial', 'cache/archives/partial']) await mkdir(join(work, folder), { recursive: true });
      const list = join(work, 'sources.list');
      await writeFile(list, `deb [signed-by=${KEYRING}] ${await debianMirror()} unstable main\n`);
      const options = [
        ...[`Dir::Etc::SourceList=${list}`, 'Dir::Etc::SourceParts=-', `Dir::State::Lists=${join(work, 'lists')}`],
        ...[`Dir::Cache=${join(work, 'cache')}`, 'Acquire::Languages=none', 'APT::Sandbox::User=root'],
      ].flatMap((option) => ['-o', option]);
      await run('apt-get', ['update', '-qq', ...options]);
      await run('apt-get', ['download', '-qq', ...options, `restic=${RESTIC}`], { cwd: work });
      const archive = (await readdir(work)).find((name) => name.endsWith('.deb'));
      await run('dpkg-deb', ['--extract', join(work, archive ?? 'restic.deb'), target]);
    });
  });
  return join(dir, 'usr/bin/restic');
}

/** Where the system's own packages come from. */
async function debianMirror(): Promise<string> {
  const { stdout } = await attempt('apt-get', ['indextargets', '--format', '$(REPO_URI) $(ORIGIN) $(LABEL)']);
  const mirror = stdout.split('\n').find((line) => line.endsWith(' Debian Debian'));
  if (mirror === undefined) {
    throw new SetupError(
      'apt knows no mirror of Debian, from which restic is fetched',
      'apt-get update, or leave it out: --tools dmaas,tar',
    );
  }
  return mirror.split(' ')[0]!;
}

/** rustic, compiled for local repositories; takes 20 minutes, once. */
export async function ensureRustic(): Promise<string> {
  const dir = await cached('rustic', RUSTIC, async (target) => {
    await ensurePrograms({ cargo: 'cargo', cc: 'gcc' });
    await step(`compiling rustic ${RUSTIC}, which takes about 20 minutes`, () =>
      run('cargo', ['install', 'rustic-rs', '--version', RUSTIC, '--locked', '--no-default-features', '--root', target], { cwd: '/' }),
    );
  });
  return join(dir, 'bin/rustic');
}

/** kopia, compiled from its Go module; not with `go install`, which asks for all versions of it, and not every proxy has that list. */
export async function ensureKopia(): Promise<string> {
  const dir = await cached('kopia', KOPIA, async (target) => {
    const go = await ensureGo();
    await step(`compiling kopia ${KOPIA}, which takes some minutes`, async () => {
      const source = await fetchGoModule(go, `github.com/kopia/kopia@${KOPIA}`);
      const env = await goEnvironment();
      const flags = `-s -w -X github.com/kopia/kopia/repo.BuildVersion=${KOPIA}`;
      const what = ['-p', '2', '-trimpath', '-buildvcs=false', '-ldflags', flags, '-tags', 'nohtmlui', '-o', target, '.'];
      await run(go, ['build', ...what], { cwd: source, env });
    });
  });
  return join(dir, 'kopia');
}
