import assert from 'node:assert/strict';
import { backupCommandLine, restoreCommandLine } from '../../core/src/command-line.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { shellWord } from '../../core/src/shell.ts';
import type { Args } from '../../kubectl-plugin/src/args.ts';
import { parseHook } from '../../kubectl-plugin/src/hook-flag.ts';
import { parse } from '../../kubectl-plugin/src/cli.ts';
import { prepareFrom } from '../../kubectl-plugin/src/restore-flags.ts';
import type { Session } from '../../kubectl-plugin/src/session.ts';

/** The command's words as a shell takes them apart; no line here has quotes within words. */
const words = (line: string): string[] => [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '').slice(2);

const SEEDS = ['selector', 'workload', 'helm-release']; // can be repeated

/** What the plugin understands of a line: it must know every flag, and find the values that were meant. */
async function understood(line: string, ...names: string[]): Promise<unknown> {
  const parsed = await parse(words(line), 100);
  assert.ok('command' in parsed, line);
  const { args } = parsed;
  return [parsed.command.path.join(' '), ...names.map((name) => (SEEDS.includes(name) ? args.each(name).join(' ') : args.string(name)))];
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
      line({ wholeNamespace: true, exclude: { objects: ['Secret'], labelSelector: 'x=y' } }),
      / --all --exclude Secret --exclude-selector x=y -n shop /,
    );
  });

  it('says every seed and filter', async () => {
    const line = backupCommandLine({
      context: 'prod',
      selector: {
        namespace: 'shop',
        anyOf: [{ labelSelector: 'app=web' }, { labelSelector: 'app in (db,cache)' }, { helmRelease: 'queue' }],
        include: { objects: ['statefulset/db-*'] },
      },
    });
    assert.deepEqual(await understood(line, 'namespace', 'selector'), ['backup create', 'shop', 'app=web app in (db,cache)']);
    assert.match(line, / -l app=web -l 'app in \(db,cache\)' --helm-release queue --include 'statefulset\/db-\*' -n shop /);
  });

  it('says what a restore changes on the way, and what it is allowed', async () => {
    const line = restoreCommandLine({
      backupId: 'b',
      context: 'dr',
      location: { name: 'lab' },
      options: {
        activate: true,
        allow: ['clusterrolebinding/web', 'deployment/*'],
        hooks: [
          { target: 'statefulset/db', command: ['sh', '-c', 'sync; x'] },
          { target: 'deployment/web', container: 'c', command: ['a', 'b c'] },
        ],
        volumes: { 'data-db-0': 'old', uploads: 'uploads' },
        replicas: { 'statefulset/db': { replicas: 2, start: 1 }, 'deployment/web': { replicas: 1 } },
        namePrefix: 'copy-',
        acceptEdits: 'likely',
        values: {
          claimSizes: { 'data-*': '20Gi' },
          images: { 'docker.io/acme': 'registry.local/acme' },
          nodeSelectors: [{ from: ['disk', 'ssd'] }],
          labels: [{ from: ['app', 'web'], to: ['app', 'copy'] }],
          addLabels: { copy: 'yes' },
        },
      },
    });
    assert.deepEqual(await understood(line, 'name-prefix', 'edit-text'), ['restore create', 'copy-', 'likely']);
    const parsed = await parse(words(line), 100);
    assert.ok('command' in parsed);
    assert.deepEqual(
      parsed.args.each('hook-after').map((text) => parseHook('hook-after', text)),
      [
        { target: 'statefulset/db', command: ['sh', '-c', 'sync; x'] },
        { target: 'deployment/web', container: 'c', command: ['a', 'b c'] },
      ],
    );
    const lists = ['allow', 'volume', 'replicas', 'ordinals', 'map-size', 'map-image', 'map-node-selector', 'map-label', 'add-label'];
    assert.deepEqual(
      lists.map((name) => parsed.args.list(name)),
      [
        ['clusterrolebinding/web', 'deployment/*'],
        ['data-db-0=old', 'uploads'],
        ['deployment/web=1'],
        ['db=1-2'],
        ['data-*=20Gi'],
        ['docker.io/acme=registry.local/acme'],
        ['disk=ssd:'],
        ['app=web:app=copy'],
        ['copy=yes'],
      ],
    );
  });

  it('says all options of a restore', async () => {
    const options = {
      namespace: 'copy',
      storageClassMap: { gp3: 'fast', '': 'slow' },
      conflict: 'skip',
      exclude: ['pvc/a'],
      activate: false,
      startJobs: true,
      allowMissingFiles: true,
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
    const { args } = (await parse(words(line), 100)) as { args: Args };
    assert.deepEqual(args.map('map-storage-class', { withEmpty: true }), { gp3: 'fast', '': 'slow' });
    assert.match(line, / --map-storage-class gp3=fast .*--exclude pvc\/a --allow-missing-files --no-activate --start-jobs /);
    assert.equal(args.bool('allow-missing-files'), true);
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

describe('flags of a restore that make no sense', () => {
  for (const [flags, message, hint] of [
    ['--to-namespace Shop_Copy', '--to-namespace Shop_Copy cannot be the name of a namespace', /lower-case letters/],
    ['--name-prefix X!', '--name-prefix X! cannot be the beginning of a name', /lower-case letters/],
    ['--volume data=New', '--volume New cannot be the name of a claim', /lower-case letters/],
    ['--data-only --manifests-only', '--data-only and --manifests-only exclude each other', /leave one of them out/],
    ['--volume data --include secret', '--volume and --include exclude each other', /leave one of them out/],
    ['--in-place --manifests-only', '--in-place and --manifests-only exclude each other', /leave one of them out/],
    [
      '--in-place --map-size data=2Gi',
      '--in-place changes what claims hold and nothing else, so --map-size would have no effect',
      /leave one of them out/,
    ],
    [
      '--in-place --name-prefix x-',
      '--in-place changes what claims hold and nothing else, so --name-prefix would have no effect',
      /leave one of them out/,
    ],
    ['--allow-missing-files --manifests-only', '--allow-missing-files and --manifests-only exclude each other', /leave one of them out/],
    ['--without-undo', '--without-undo is of use with --in-place only', /restore delete/],
    ['--map-size data', '--map-size data is not of the form CLAIM=SIZE', undefined],
    ['--map-size data=big', '--map-size data=big names no size', /20Gi/],
    ['--replicas db', '--replicas db is not of the form KIND/NAME=N', undefined],
    ['--ordinals db=2-1', '--ordinals db=2-1 is not of the form STATEFULSET=FIRST or STATEFULSET=FIRST-LAST', undefined],
    ['--patch-file /nope.yaml', '/nope.yaml cannot be read: there is no such file', undefined],
    ['--patch-file /', '/ cannot be read: it is a directory', undefined],
  ] as const) {
    it(`${flags}: refused before anything is looked up`, async () => {
      const parsed = await parse(`restore create backup ${flags}`.split(' '), 100);
      assert.ok('command' in parsed);
      await assert.rejects(prepareFrom(Object.create(null) as Session, parsed.args), (e) => {
        assert.ok(DmaasError.is(e, 'USAGE'));
        assert.equal(e.message, message);
        if (hint === undefined) assert.equal(e.hint, undefined);
        else assert.match(e.hint ?? '', hint);
        return true;
      });
    });
  }
});
