import { readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { attempt, exists, run, SetupError } from './command.ts';
import { isPresent, withLock } from './cache.ts';
import { step } from './progress.ts';

async function missing(packages: readonly string[]): Promise<string[]> {
  const { stdout } = await attempt('dpkg-query', ['-W', '-f', '${Package} ${Status}\n', ...packages]);
  const installed = new Set(stdout.split('\n').flatMap((line) => (line.endsWith('ok installed') ? [line.split(' ')[0]!] : [])));
  return packages.filter((name) => !installed.has(name));
}

export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** Fails unless this is a Debian or a descendant of it. */
export async function requireDebian(): Promise<void> {
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '');
  if (/^(ID|ID_LIKE)=.*(debian|ubuntu)/m.test(release) && (await exists('dpkg-query'))) return;
  throw new SetupError(
    'this machine is not a Debian or Ubuntu, and the test programs come as Debian packages',
    'run it on a Debian or Ubuntu machine or in a virtual machine of one; clusters that exist already can be named in DMAAS_TEST_KUBECONFIG',
  );
}

/** Installs those of the named Debian packages that are missing. Removes none: what would conflict is an error. */
export async function ensurePackages(...packages: readonly string[]): Promise<void> {
  await requireDebian();
  if ((await missing(packages)).length === 0) return;
  await withLock('apt', async () => {
    const absent = await missing(packages);
    if (absent.length === 0) return;
    const list = absent.join(' ');
    if (!isRoot()) throw new SetupError(`the Debian packages ${list} are missing`, `sudo apt-get install --no-install-recommends ${list}`);
    await step(`installing the Debian packages ${list}`, async () => {
      const wait = ['-o', 'DPkg::Lock::Timeout=600']; // a new machine is often busy updating itself
      await run('apt-get', ['update', '-qq', ...wait]);
      await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', '--no-remove', ...wait, ...absent], {
        env: { DEBIAN_FRONTEND: 'noninteractive' },
      });
    });
  });
}

/**
 * Makes sure of programs, given with the Debian package of each. A program that is there is taken whatever brought it: Docker's
 * containerd, for one, is in a package that cannot be installed beside Debian's.
 */
export async function ensurePrograms(programs: Readonly<Record<string, string>>): Promise<void> {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  const packages = new Set<string>();
  for (const [program, name] of Object.entries(programs)) {
    const places = program.startsWith('/') ? [program] : folders.map((folder) => join(folder, program));
    const found = await Promise.all(places.map(isPresent));
    if (!found.includes(true)) packages.add(name);
  }
  if (packages.size > 0) await ensurePackages(...packages);
}
