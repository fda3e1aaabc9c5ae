/** Commands that hints propose look where the call looked that failed. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { parse } from '../../kubectl-plugin/src/cli.ts';
import { COMMANDS } from '../../kubectl-plugin/src/commands/table.ts';
import { EACH_REPOSITORY_FLAGS } from '../../kubectl-plugin/src/each-repository.ts';
import { Session, type Streams } from '../../kubectl-plugin/src/session.ts';

const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough(), env: {} } as unknown as Streams;

async function sessionOf(line: string): Promise<Session> {
  const parsed = await parse(line.split(' '), 100);
  assert.ok('command' in parsed, line);
  return new Session(streams, new AbortController().signal, parsed.args);
}

const DIRECTORY = '--repository file:///r --key-file k';

describe('commands in hints', () => {
  for (const [call, text, expected] of [
    ['backup describe nope --location-file lab.yaml', 'kubectl dmaas backup list', 'kubectl dmaas backup list --location-file lab.yaml'],
    [
      'backup describe nope --location lab -n a -A',
      '1; kubectl dmaas backup list',
      '1; kubectl dmaas backup list -n a --location lab --all-namespaces',
    ],
    ['backup describe nope -n shop', '"kubectl dmaas app list -n blog" shows all', '"kubectl dmaas app list -n blog" shows all'],
    [
      'backup cat latest data --location-file lab.yaml',
      "kubectl dmaas backup browse 'a b' data",
      "kubectl dmaas backup browse 'a b' --location-file lab.yaml data",
    ],
    [`repository prune ${DIRECTORY}`, 'kubectl dmaas repository verify', `kubectl dmaas repository verify ${DIRECTORY}`],
    [
      'repository verify --everywhere --context dr',
      'kubectl dmaas repository repair, a day after that',
      'kubectl dmaas repository repair --context dr --everywhere, a day after that',
    ],
    [
      `key remove id -y ${DIRECTORY} --path-style`,
      'kubectl dmaas key rotate --without id, see "kubectl dmaas key list"',
      `kubectl dmaas key rotate ${DIRECTORY} --path-style --without id, see "kubectl dmaas key list ${DIRECTORY} --path-style"`,
    ],
    [`repository verify ${DIRECTORY}`, 'kubectl dmaas backup delete x', `kubectl dmaas volume delete x ${DIRECTORY}`],
    [`volume backup . ${DIRECTORY}`, 'kubectl dmaas volume restore x TARGET', `kubectl dmaas volume restore x TARGET ${DIRECTORY}`],
    [
      'restore create b --context prod --to-context dr --location-file lab.yaml -y',
      'kubectl dmaas restore undo x goes back, or "kubectl dmaas restore resume x --location-file other.yaml --context prod"',
      'kubectl dmaas restore undo x --context prod --to-context dr --location-file lab.yaml goes back, or "kubectl dmaas restore resume x --to-context dr --location-file other.yaml --context prod"',
    ],
    [
      'backup describe nope --context a --context b --everywhere=false',
      'kubectl dmaas backup list',
      'kubectl dmaas backup list --context a --context b',
    ],
    [
      'backup list -n shop --context prod',
      '"kubectl dmaas location check" shows what the store can do',
      '"kubectl dmaas location check --context prod -n shop" shows what the store can do',
    ],
    [`key add ${DIRECTORY}`, 'kubectl dmaas key add --help', 'kubectl dmaas key add --help'],
    [
      `volume list ${DIRECTORY}`,
      'kubectl auth can-i get pods; kubectl dmaas nothing',
      'kubectl auth can-i get pods; kubectl dmaas nothing',
    ],
    ['backup list', 'kubectl dmaas backup list --everywhere', 'kubectl dmaas backup list --everywhere'],
    [
      "repository verify --repository file:///it's --key-file k",
      'kubectl dmaas key list',
      "kubectl dmaas key list --repository 'file:///it'\\''s' --key-file k",
    ],
  ] as const) {
    it(`of ${call}: ${text}`, async () => {
      const session = await sessionOf(call);
      assert.equal(session.pasteable(text), expected);
      assert.equal(session.pasteable(expected), expected, 'nothing is said twice');
    });
  }

  it('repeat every flag that says which repository is meant', async () => {
    const verify = COMMANDS.find(({ path }) => path.join(' ') === 'repository verify');
    for (const { name, type } of EACH_REPOSITORY_FLAGS) {
      const flag = type === 'boolean' ? `--${name}` : `--${name} x`;
      assert.ok(verify?.flags?.some((known) => known.name === name));
      const session = await sessionOf(`repository prune ${flag}`);
      assert.equal(session.pasteable('kubectl dmaas repository verify'), `kubectl dmaas repository verify ${flag}`);
    }
  });
});
