/** What commands over all repositories of a location say and exit with. */
import assert from 'node:assert/strict';
import { withPrefix } from '../../core/src/store/prefix.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { keysUnder } from '../support/repository.ts';
import { accessWith, addBackup, BLOG, bucket, callOn, keyIn, SHOP } from '../support/location.ts';

interface Items {
  readonly items: readonly {
    readonly repository: string;
    readonly findings: readonly { readonly level: string; readonly code: string }[];
  }[];
}

/** Findings by repository. */
function itemsOf({ stdout }: { readonly stdout: string }): Map<string, Items['items'][number]['findings']> {
  return new Map((JSON.parse(stdout) as Items).items.map(({ repository, findings }) => [repository, findings]));
}

const OVER_ALL = ['repository verify', 'repository prune', 'repository repair --yes'];

describe('a command over the repositories of a location', () => {
  const access = accessWith();
  let deps: ReturnType<typeof bucket>;
  let shop: string;
  const call = (line: string, as = access) => callOn(as, deps, line);

  beforeEach(async () => {
    deps = bucket();
    shop = await addBackup(access, SHOP, deps, 'web', 'one', 'aaaaaaaa');
    await addBackup(access, BLOG, deps, 'blog', 'two', 'bbbbbbbb');
  });

  for (const command of OVER_ALL) {
    it(`${command}: is no success where there was nothing to look at`, async () => {
      const typo = await call(`${command} -n shpo`);
      assert.deepEqual([typo.code, typo.stdout], [10, ''], typo.stderr);
      assert.match(
        typo.stderr,
        /error: location eu holds no repository of namespace shpo\nhint: it holds those of prod\/(shop, prod\/blog|blog, prod\/shop)\n$/,
      );
      const foreign = await call(command, accessWith());
      assert.deepEqual([foreign.code, foreign.stdout], [12, ''], foreign.stderr);
      assert.match(
        foreign.stderr,
        /error: the key of location eu opens none of 2 repositories in bucket bucket: .*\nhint: import the location/,
      );
      deps = bucket();
      const empty = await call(command);
      assert.equal(empty.code, 10, empty.stderr);
      assert.match(empty.stderr, /error: location eu holds no repository\nhint: kubectl dmaas backup create /);
    });

    it(`${command}: says how many repositories it did not look at`, async () => {
      const whole = await call(command);
      assert.equal(whole.code, 0, whole.stderr);
      assert.doesNotMatch(whole.stderr, /not looked at/);
      await addBackup(accessWith(), SHOP, deps, 'web', 'three', 'cccccccc');
      const { code, stderr } = await call(`${command} -n shop`);
      assert.equal(code, 0, stderr);
      assert.match(stderr, /^not looked at: 1 repository of other keys in bucket bucket$/m);
    });
  }

  for (const command of OVER_ALL) {
    it(`${command}: goes on after a repository that cannot be opened, and says which that was`, async () => {
      await deps.store.delete(keyIn(access, BLOG, 'dmaas.json'));
      const { code, stdout, stderr } = await call(command);
      assert.equal(code, 13, stderr);
      assert.match(stdout, /prod\/shop/);
      assert.match(
        stdout,
        /^repository prod\/blog\n✗ dmaas.json is damaged: it is missing .*\n {4}hint: bring dmaas.json back from an older version in the bucket$/m,
      );
      const items = itemsOf(await call(`${command} -o json`));
      assert.equal(items.get('prod/shop')?.filter(({ level }) => level === 'blocker').length, 0);
      assert.deepEqual(
        items.get('prod/blog')?.map(({ level, code }) => [level, code]),
        [['blocker', 'repository-corrupt']],
      );
    });
  }

  for (const [bad, good] of [
    [SHOP, BLOG],
    [BLOG, SHOP],
  ] as const) {
    it(`repository prune: collects in ${good.namespace} when ${bad.namespace} has a record that cannot be read`, async () => {
      await deps.store.put(keyIn(access, bad, `backups/20261122T080000Z-dddddddd`), new Uint8Array(100));
      const { code, stdout, stderr } = await call('repository prune');
      assert.equal(code, 13, stderr);
      assert.match(stdout, new RegExp(`^repository prod/${good.namespace} \\(.*\\n +deleted now: `, 'm'));
      const refused = `^repository prod/${bad.namespace}\\n✗ nothing was deleted, because backups/20261122T080000Z-dddddddd is damaged: `;
      assert.match(stdout, new RegExp(refused, 'm'));
    });
  }

  it('repository verify: exits with the worst of what it found', async () => {
    await deps.store.put(keyIn(access, SHOP, `backups/20261122T080000Z-dddddddd`), new Uint8Array(100));
    assert.equal((await call('repository verify')).code, 13);
    const config = JSON.parse(Buffer.from((await deps.store.get(keyIn(access, BLOG, 'dmaas.json')))!).toString()) as object;
    await deps.store.put(keyIn(access, BLOG, 'dmaas.json'), Buffer.from(JSON.stringify({ ...config, minReader: 9 })));
    const { code, stdout } = await call('repository verify');
    assert.equal(code, 14, stdout);
    assert.match(stdout, /✗ backups\/20261122T080000Z-dddddddd is damaged/);
    assert.match(stdout, /✗ dmaas.json needs a newer DMaaS\n +hint: update DMaaS/);
  });

  it('of which the store does not answer, is no matter of one repository', async () => {
    const down = new FaultyStore(deps.store, [{ verb: 'get', key: /dmaas.json$/, fault: { kind: 'error' } }]);
    const { code, stderr } = await callOn(access, { openStore: ({ prefix = '' }) => withPrefix(down, prefix) }, 'repository verify');
    assert.equal(code, 22, stderr);
  });

  it('backup delete: deletes a damaged record by its id, so that garbage is collected again', async () => {
    const id = await addBackup(access, SHOP, deps, 'web', 'three', 'cccccccc');
    await deps.store.put(keyIn(access, SHOP, `backups/${id}`), new Uint8Array(100));
    const found = await call('repository verify');
    assert.equal(found.code, 13);
    assert.match(found.stdout, new RegExp(`hint: the backup is lost; kubectl dmaas backup delete ${id} --location-file eu.yaml$`, 'm'));
    const before = await keysUnder(deps.store, '');
    for (const line of [
      `backup delete ${id}`,
      `backup delete ${id.slice(0, -1)} -y`,
      'backup delete cccccccc -y',
      'backup delete three -y',
    ]) {
      const refused = await call(line);
      assert.notEqual(refused.code, 0, line);
      if (line.endsWith(id)) {
        const asked = `error: Delete 1 backup \\(${id}, whose record is damaged\\) from location eu\\? needs a confirmation`;
        assert.match(refused.stderr, new RegExp(asked));
      }
    }
    assert.deepEqual(await keysUnder(deps.store, ''), before);
    const deleted = await call(`backup delete ${id} one -y`);
    assert.deepEqual([deleted.code, deleted.stdout], [0, `backup/${id} deleted\nbackup/one deleted\n`], deleted.stderr);
    const gone = [id, shop].map((backup) => keyIn(access, SHOP, `backups/${backup}`));
    assert.deepEqual(
      await keysUnder(deps.store, ''),
      before.filter((key) => !gone.includes(key)),
    );
    for (const line of ['repository verify', 'repository prune']) assert.equal((await call(line)).code, 0);
  });

  it('a hint names commands that find the location', async () => {
    for (const [line, hint] of [
      ['backup describe nope', /; kubectl dmaas backup list --location-file eu.yaml shows all\n$/],
      ['restore resume abcdefgh', /\nhint: kubectl dmaas restore list --location-file eu.yaml\n$/],
      ['backup describe nope --app none', /\nhint: kubectl dmaas backup list --location-file eu.yaml\n$/],
    ] as const) {
      const { code, stderr } = await call(line);
      assert.notEqual(code, 0);
      assert.match(stderr, hint);
    }
  });

  it('restore list: does not call it no restores when the key opens nothing', async () => {
    assert.equal((await call('restore list')).code, 0);
    const { code, stderr } = await call('restore list', accessWith());
    assert.equal(code, 3);
    assert.match(
      stderr,
      /! the key of location eu opens none of 2 repositories in bucket bucket: they belong to another key\n +hint: import/,
    );
    const one = await call('restore describe abcdefgh', accessWith());
    assert.equal(one.code, 12, one.stderr);
  });
});
