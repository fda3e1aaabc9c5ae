import assert from 'node:assert/strict';
import { chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EXPIRED, freezeScript, NOT_RUNNING, RECIPES, releaseScript } from '../../core/src/transfer/recipes.ts';
import { Container, CONTAINER_USER } from './container.ts';
import type { Database } from './databases.ts';
import { run } from './setup/command.ts';

const OPERATION = 'abcdefgh';
/** Ends, as when memory runs out, all that was started to hold the lock. */
const KILL_HOLDERS = `for p in /proc/[0-9]*; do
  p="\${p#/proc/}"; [ "$p" != "$$" ] && grep -q dmaas-freeze-${OPERATION} "/proc/$p/cmdline" && kill -9 "$p"
done; true`;

/** What a recipe promises, with the real server. */
export function describeRecipe(db: Database): void {
  describe(`the recipe for ${db.name}`, function () {
    this.timeout(60_000);
    const recipe = RECIPES.find(({ name }) => name === db.recipe);
    assert.ok(recipe);
    const freeze = (limit: number) => freezeScript(recipe, OPERATION, limit);
    const release = releaseScript(OPERATION);
    let home: string;
    let volume: string;
    let root: string;
    let server: Container;
    /** The last number that the server has said to be written. */
    let written = 0;

    const start = (files: string) => Container.start({ root, volume: files, env: db.env, command: db.serve }, db.ready);

    /** Whether numbers are being written, after a moment for what is under way. */
    const isWriting = async () => {
      await sleep(300);
      const before = written;
      await sleep(500);
      return written > before;
    };

    /** Whether they are again, some time. */
    const goesOn = async () => {
      for (let n = 0; n < 15; n++) if (await isWriting()) return true;
      return false;
    };

    before(async function () {
      this.timeout(600_000);
      root = await db.root();
      home = mkdtempSync(join(tmpdir(), 'dmaas-database-'));
      volume = join(home, 'volume');
      await run('mkdir', [volume]);
      chownSync(volume, CONTAINER_USER, CONTAINER_USER);
      server = await start(volume);
      await server.must(db.prepare);
      server.start(db.write, (line) => (written = Number(line)));
      assert.ok(await isWriting(), 'nothing is written');
    });

    after(async () => {
      await server.kill();
      rmSync(home, { recursive: true });
    });

    it('holds: nothing is written, a copy of the volume starts with what was there and all of it sound; then writes go on', async () => {
      await server.must(freeze(30));
      assert.equal(await isWriting(), false, 'writes went on');
      const there = await server.must(db.last);
      const copy = join(home, 'copy');
      await run('cp', ['-a', volume, copy]);
      await server.must(release);
      assert.ok(await isWriting(), 'writes did not go on');
      assert.notEqual(await server.must(db.last), there);
      const second = await start(copy);
      try {
        assert.equal(await second.must(db.last), there);
        await second.must(db.check);
        assert.doesNotMatch(second.log(), db.damage);
      } finally {
        await second.kill();
      }
    });

    it('goes on by itself when nobody comes, and says so to who comes late', async () => {
      await server.must(freeze(2));
      assert.equal(await isWriting(), false, 'not held');
      assert.ok(await goesOn(), 'still held');
      assert.equal((await server.run(release)).code, EXPIRED);
    });

    it('goes on when the processes that hold it are killed, and says so', async () => {
      await server.must(freeze(db.endsWithHolder ? 60 : 2));
      assert.equal(await isWriting(), false, 'not held');
      await server.must(KILL_HOLDERS);
      assert.ok(await goesOn(), 'still held');
      const late = await server.run(release);
      assert.equal(late.code, 1);
      assert.match(late.stderr, /the session that held it is gone/);
    });

    const { breakIn, occupy } = db;
    if (breakIn !== undefined)
      it('says so when the server took the lock away', async () => {
        await server.must(freeze(30));
        await server.must(breakIn);
        assert.ok(await isWriting(), 'still held');
        const late = await server.run(release);
        assert.equal(late.code, 1, late.stderr);
        assert.match(late.stderr, /ERROR/);
      });

    if (occupy !== undefined)
      it('gives up where another keeps it from the lock, so that writes go on', async () => {
        await new Promise<void>((resolve) => {
          server.start(occupy, () => {
            resolve();
          });
        });
        const began = Date.now();
        const frozen = await server.run(freeze(2));
        assert.equal(frozen.code, 1);
        assert.match(frozen.stderr, /timeout|not locked within/i);
        await server.run(release);
        assert.ok(await isWriting(), 'still held');
        assert.ok(Date.now() - began < 10_000);
      });

    it('fails at once with what the server says where the password is wrong', async () => {
      const began = Date.now();
      const wrong = Object.keys(db.env).map((name) => `unset ${name}; `);
      const { code, stderr } = await server.run(`${wrong.join('')}${freeze(30)}`);
      assert.equal(code, 1, stderr);
      assert.match(stderr, /denied|NOAUTH/);
      assert.ok(Date.now() - began < 5000);
    });

    it('declines at once where no server answers', async () => {
      const began = Date.now();
      const idle = await Container.start({ root, volume, env: db.env, command: 'exec sleep 1000' }, 'true');
      const { code, stderr } = await idle.run(freeze(30));
      await idle.kill();
      assert.equal(code, NOT_RUNNING, stderr);
      assert.ok(Date.now() - began < 10_000);
    });
  });
}
