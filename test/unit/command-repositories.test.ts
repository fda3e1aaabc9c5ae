/** What commands over all repositories of a location say and exit with. */
import assert from 'node:assert/strict';
import { accessWith, addBackup, BLOG, bucket, callOn, SHOP } from '../support/location.ts';

const OVER_ALL = ['repository verify', 'repository prune', 'repository repair --yes'];

describe('a command over the repositories of a location', () => {
  const access = accessWith();
  let deps: ReturnType<typeof bucket>;
  const call = (line: string, as = access) => callOn(as, deps, line);

  beforeEach(async () => {
    deps = bucket();
    await addBackup(access, SHOP, deps, 'web', 'one', 'aaaaaaaa');
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
