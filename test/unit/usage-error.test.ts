import assert from 'node:assert/strict';
import { parse } from '../../kubectl-plugin/src/cli.ts';
import { setColors } from '../../kubectl-plugin/src/colors.ts';

const HELP = 'kubectl dmaas';

describe('a command line that cannot be read', () => {
  for (const [line, message, hint] of [
    ['foo', 'there is no command foo', `${HELP} --help`],
    ['backpu list -n shop', 'there is no command backpu', `${HELP} backup list -n shop`],
    ['-n shop bacup list', 'there is no command bacup', `${HELP} -n shop backup list`],
    ['vol lst', 'there is no command lst in volume', `${HELP} vol list`],
    ['restore nope', 'there is no command nope in restore', `${HELP} restore --help`],
    ['repository shrink --repository file:///x', 'there is no command shrink in repository', `${HELP} repository --help`],
    ['restore create', 'BACKUP is missing', `${HELP} restore create --help`],
    ['vol restore latest', 'TARGET is missing', `${HELP} volume restore --help`],
    ['volume backup a b', '"b" is an argument too many for volume backup', `${HELP} volume backup --help`],
    ['backup list --nope=3 x', 'there is no flag --nope', `${HELP} backup list --help`],
    ['backup list -q', 'there is no flag -q', `${HELP} backup list --help`],
    ['backup list -n', '-n needs a value', `${HELP} backup list --help`],
    ['repository prune --grace', '--grace needs a value', `${HELP} repository prune --help`],
    ['backup list --color=foo', '--color foo is none of auto, always, never', `${HELP} backup list --help`],
  ] as const) {
    it(`${line}: ${message}`, async () => {
      await assert.rejects(parse(line.split(' '), 100), { code: 'USAGE', message, hint });
    });
  }
});

describe('help', () => {
  it('shows the form of each value', async () => {
    const parsed = await parse(['restore', 'create', '--help'], 100);
    assert.ok('help' in parsed);
    for (const flag of [/--map-label +KEY=VALUE:KEY=VALUE {2}Label/, /--to-namespace +NAME {2}Namespace/, /-o, --output +FORMAT {2}json/])
      assert.match(parsed.help, flag);
    assert.match(parsed.help, /--in-place +Over the data/);
  });
});

describe('--color', () => {
  const after = (argv: string, env: NodeJS.ProcessEnv) => {
    setColors(argv.split(' '), env);
    return env;
  };

  it('wins over what the environment says, and auto leaves that as it is', () => {
    assert.deepEqual(after('backup list --color=never', { FORCE_COLOR: '1' }), { NO_COLOR: '1' });
    assert.deepEqual(after('backup list --color never', {}), { NO_COLOR: '1' });
    assert.deepEqual(after('--no-color backup list', {}), { NO_COLOR: '1' });
    assert.deepEqual(after('backup list --color=always', { NO_COLOR: '1' }), { FORCE_COLOR: '1' });
    assert.deepEqual(after('backup list --color=auto', { NO_COLOR: '1' }), { NO_COLOR: '1' });
    assert.deepEqual(after('backup list -n --colors', {}), {});
  });
});
