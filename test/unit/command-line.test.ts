import assert from 'node:assert/strict';
import { backupCommandLine, restoreCommandLine } from '../../core/src/command-line.ts';
import { shellWord } from '../../core/src/shell.ts';
import { parse } from '../../kubectl-plugin/src/cli.ts';

/** The command's words as a shell takes them apart; no line here has quotes within words. */
const words = (line: string): string[] => [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '').slice(2);

/** What the plugin understands of a line: it must know every flag, and find the values that were meant. */
async function understood(line: string, ...names: string[]): Promise<unknown> {
  const parsed = await parse(words(line), 100);
  assert.ok('command' in parsed, line);
  const { args } = parsed;
  return [parsed.command.path.join(' '), ...names.map((name) => args.string(name))];
}

describe('the command line that does the same', () => {
  it('quotes what a shell would take apart', () => {
    assert.deepEqual(["a'b c", 'plain-1/x=y', ''].map(shellWord), ["'a'\\''b c'", 'plain-1/x=y', "''"]);
  });

  it('is one that the plugin understands, for each way to choose an application', async () => {
    const line = (selector: object) =>
      backupCommandLine({
        context: 'prod eu',
        selector: { namespace: 'shop', ...selector } as never,
        location: { name: 'lab', homeNamespace: 'ops' },
      });
    const common = ['namespace', 'context', 'location', 'home-namespace'];
    const values = ['shop', 'prod eu', 'lab', 'ops'];
    assert.deepEqual(await understood(line({ labelSelector: 'app in (a, b)' }), ...common, 'selector'), [
      'backup create',
      ...values,
      'app in (a, b)',
    ]);
    assert.deepEqual(await understood(line({ workload: { kind: 'StatefulSet', name: 'db' } }), ...common, 'workload'), [
      'backup create',
      ...values,
      'StatefulSet/db',
    ]);
    assert.deepEqual(await understood(line({ helmRelease: 'web' }), ...common, 'helm-release'), ['backup create', ...values, 'web']);
    assert.match(
      line({ wholeNamespace: true, exclude: { kinds: ['Secret'], labelSelector: 'x=y' } }),
      / --all --exclude-kind Secret --exclude-selector x=y -n shop /,
    );
  });

  it('says all options of a restore', async () => {
    const options = {
      namespace: 'copy',
      storageClassMap: { gp3: 'fast' },
      conflict: 'skip',
      exclude: ['pvc/a'],
      activate: false,
      startJobs: true,
      readyTimeoutMs: 90_000,
    } as const;
    const line = restoreCommandLine({
      backupId: '20261122T100000Z-operation',
      context: 'dr',
      location: { file: '/my files/lab.yaml' },
      options,
    });
    assert.deepEqual(await understood(line, 'BACKUP', 'context', 'location-file', 'to-namespace', 'on-conflict', 'ready-timeout'), [
      'restore create',
      '20261122T100000Z-operation',
      'dr',
      '/my files/lab.yaml',
      'copy',
      'skip',
      '90s',
    ]);
    assert.match(line, / --map-storage-class gp3=fast .*--exclude pvc\/a --no-activate --start-jobs /);
  });

  it('finds a location in a cluster where the backup came from', async () => {
    const line = restoreCommandLine({
      backupId: 'b',
      context: 'dr',
      location: { name: 'lab' },
      namespace: 'shop',
      options: { activate: true },
    });
    assert.deepEqual(await understood(line, 'namespace', 'location', 'location-file'), ['restore create', 'shop', 'lab', undefined]);
    assert.match(line, /--everywhere$/);
  });
});
