import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DmaasError } from '../../core/src/errors.ts';
import { formatKey, newKey } from '../../core/src/repository/keys/keys.ts';
import { Args } from '../../kubectl-plugin/src/args.ts';
import { withoutLeftover } from '../../kubectl-plugin/src/commands/key.ts';
import { Session, type Streams } from '../../kubectl-plugin/src/session.ts';
import { callPlugin } from '../support/plugin-call.ts';
import { scratch } from '../support/volume.ts';

/** Somebody at a terminal who types these. */
class TypingSession extends Session {
  readonly asked: string[] = [];
  readonly #typed: string[];

  constructor(flags: object, typed: string[]) {
    super({ env: {} } as Streams, new AbortController().signal, new Args({ ...flags }));
    this.#typed = typed;
  }

  override get interactive(): boolean {
    return true;
  }

  override secret(name: string): Promise<string> {
    this.asked.push(name);
    return Promise.resolve(this.#typed.shift() ?? '');
  }
}

describe('key add', () => {
  const dir = scratch();
  const at = (name: string) => join(dir.path, name);
  const call = (args: string[], input = '') =>
    callPlugin([...args, '--repository', `file://${at('repository')}`, '--key-file', at('key')], { input });
  before(async () => {
    assert.equal((await call(['repository', 'init'])).code, 0);
    writeFileSync(at('text'), 'my password');
    writeFileSync(at('cut'), formatKey(newKey()).slice(0, 40));
  });

  it('leaves no recovery key when the repository cannot be written', async () => {
    rmSync(at('repository/.staging'), { recursive: true });
    writeFileSync(at('repository/.staging'), 'in the way');
    const failed = await call(['key', 'add', '--new-recovery-key', at('recovery')]);
    rmSync(at('repository/.staging'));
    assert.equal(failed.code, 20, failed.stderr);
    assert.ok(!existsSync(at('recovery')));
    assert.equal((await call(['key', 'add', '--new-recovery-key', at('recovery')])).code, 0);
    assert.match(readFileSync(at('recovery'), 'utf8'), /^dmaas-recovery-1-/);
  });

  it('says so when it cannot know whether the recovery key was added', async () => {
    const leftover = async (error: Error) => {
      writeFileSync(at('maybe'), 'dmaas-recovery-1-…');
      const e: unknown = await withoutLeftover(at('maybe'), Promise.reject(error)).catch((caught: unknown) => caught);
      return [DmaasError.is(e) ? [e.code, e.message, e.hint?.includes(at('maybe'))] : e, existsSync(at('maybe'))];
    };
    assert.deepEqual(await leftover(new DmaasError('STORE_ACCESS', 'refused')), [['STORE_ACCESS', 'refused', undefined], false]);
    for (const code of ['STORE_UNAVAILABLE', 'CANCELLED'] as const)
      assert.deepEqual(await leftover(new DmaasError(code, 'away')), [[code, 'away', true], true]);
    const defect = new TypeError('x');
    assert.deepEqual(await leftover(defect), [defect, true]);
  });

  it('has a new passphrase typed twice, and others once', async () => {
    const flags = { 'new-passphrase-file': '-', 'passphrase-file': '-' };
    const isNew = { isNew: true };
    const same = new TypingSession(flags, ['a few words', 'a few words']);
    assert.equal(await same.passphrase('new-passphrase-file', 'new passphrase', isNew), 'a few words');
    assert.deepEqual(same.asked, ['new passphrase', 'new passphrase, once more']);
    await assert.rejects(
      new TypingSession(flags, ['a few words', 'a few w0rds']).passphrase('new-passphrase-file', 'new passphrase', isNew),
      {
        code: 'USAGE',
        message: 'the new passphrase was typed in two ways',
      },
    );
    const once = new TypingSession(flags, ['a few words']);
    assert.equal(await once.passphrase('passphrase-file', 'passphrase'), 'a few words');
    assert.deepEqual(once.asked, ['passphrase']);
  });

  for (const [flags, code, message] of [
    ['--new-passphrase-file -', 2, /^error: the passphrase has fewer than 8 characters\n/],
    ['--recipient nobody', 2, /^error: this is no DMaaS key: a key begins with dmaas-recipient-1- \(--recipient\)\n/],
    ['--new-key-file HERE/text', 2, /^error: this is no DMaaS key: .* \(\S+\/text\)\n/],
    ['--new-key-file HERE/cut', 2, /^error: the key is mistyped or cut short: .* \(\S+\/cut\)\nhint: copy the whole line/],
  ] as const) {
    it(`${flags} exits with ${code}`, async () => {
      const said = await call(['key', 'add', ...flags.replace('HERE', dir.path).split(' ')], 'short\n');
      assert.equal(said.code, code, said.stderr);
      assert.match(said.stderr, message);
    });
  }

  it('names the file of a key that opens nothing because it is none', async () => {
    const said = await callPlugin(['key', 'list', '--repository', `file://${at('repository')}`, '--key-file', at('cut')]);
    assert.equal(said.code, 12);
    assert.match(said.stderr, /^error: the key is mistyped or cut short: .* \(\S+\/cut\)\n/);
    const other = await call(['key', 'rotate', '--with-key-file', at('text')]);
    assert.deepEqual([other.code, other.stderr.includes(`(${at('text')})`)], [12, true], other.stderr);
  });
});
