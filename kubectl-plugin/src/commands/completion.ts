import { access, chmod, constants, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { DmaasError } from '@dmaas/core';
import type { Command } from '../command.ts';

const FILE = 'kubectl_complete-dmaas';
const SCRIPT = '#!/bin/sh\n# kubectl calls this for tab completion of "kubectl dmaas".\nexec kubectl dmaas __complete "$@"\n';

export const completionInstall: Command = {
  path: ['completion', 'install'],
  summary: 'Turn on tab completion of "kubectl dmaas"',
  description: `Writes ${FILE}, which kubectl (1.26 or later) calls for completion, beside the plugin or into a directory on PATH.`,
  flags: [{ name: 'dir', type: 'string', value: 'DIR', describe: 'Directory to write to; must be on PATH' }],
  examples: [['Install beside the plugin', 'completion install']],
  run: async (session, args) => {
    const dir = args.string('dir') ?? (await pluginDirectory(session.streams.env['PATH'] ?? ''));
    const file = join(dir, FILE);
    try {
      await writeFile(file, SCRIPT);
      await chmod(file, 0o755);
    } catch (cause) {
      throw new DmaasError('USAGE', `cannot write ${file}`, {
        cause,
        hint: 'kubectl dmaas completion install --dir DIR, with a directory on PATH that you may write to',
      });
    }
    return { names: [], notes: [`${file} written; kubectl's own completion must be on: kubectl completion --help`] };
  },
};

export const completionScript: Command = {
  path: ['completion', 'script'],
  summary: `Print ${FILE}, to be put on PATH`,
  run: () => Promise.resolve({ text: () => SCRIPT }),
};

async function pluginDirectory(path: string): Promise<string> {
  for (const dir of path.split(delimiter)) {
    const found = await access(join(dir, 'kubectl-dmaas'), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return dir;
  }
  return dirname(process.argv[1] ?? '.');
}
