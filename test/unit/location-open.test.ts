import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import { checkLocation, findBackup, listBackups, listRepositories, openLocationRepository } from '../../core/src/location/open.ts';
import { deriveScope, formatKey, parseKey } from '../../core/src/repository/keys/keys.ts';
import { openRepository } from '../../core/src/repository/repository.ts';
import type { MemoryStore } from '../../core/src/store/memory.ts';
import { accessWith, addBackup, BLOG, bucket, keyIn, SHOP } from '../support/location.ts';

async function keysOf(store: MemoryStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list('')) keys.push(key);
  return keys;
}

const fails = (code: string, message: string | RegExp, hint?: RegExp) => (e: unknown) => {
  assert.ok(DmaasError.is(e), String(e));
  assert.equal(e.code, code);
  if (typeof message === 'string') assert.equal(e.message, message);
  else assert.match(e.message, message);
  if (hint !== undefined) assert.match(e.hint ?? '', hint);
  return true;
};

describe('the repositories of a location', () => {
  it('are one for each namespace, each with a key that opens no other', async () => {
    const access = accessWith();
    const deps = bucket();
    const shop = await openLocationRepository(access, SHOP, deps, { create: true });
    const blog = await openLocationRepository(access, BLOG, deps, { create: true });
    assert.notEqual(shop.directory, blog.directory);
    assert.equal(shop.store.prefix, `backups/${shop.directory}`);
    const inside = await deps.openStore(shop.store);
    await (await openRepository(inside, parseKey(shop.unlock))).close();
    await assert.rejects(openRepository(inside, parseKey(blog.unlock)), fails('REPOSITORY_KEY', /./));
    assert.equal(shop.unlock, formatKey(deriveScope(parseKey(access.location.key), SHOP).unlock));
    await shop.close();
    await blog.close();
  });

  it('are found in the bucket alone, but only by the key that made them', async () => {
    const access = accessWith();
    const deps = bucket();
    for (const source of [SHOP, BLOG]) await (await openLocationRepository(access, source, deps, { create: true })).close();
    await deps.store.put('backups/readme.txt', new Uint8Array(1));
    const { repositories, others } = await listRepositories(access, deps);
    assert.deepEqual(repositories.map((r) => [r.namespace, r.clusterId, r.context]).sort(), [
      ['blog', 'cluster-1', 'prod'],
      ['shop', 'cluster-1', 'prod'],
    ]);
    assert.equal(others, 0);
    assert.deepEqual(await listRepositories(accessWith(), deps), { repositories: [], others: 2 });
    assert.deepEqual((await listRepositories(accessWith(access.location.key, 'elsewhere'), deps)).repositories, []);
  });

  it('are not made by whoever only looks, nor for a cluster that is not known', async () => {
    const access = accessWith();
    const deps = bucket();
    await assert.rejects(openLocationRepository(access, SHOP, deps), fails('REPOSITORY_NOT_FOUND', /./));
    assert.deepEqual(await keysOf(deps.store), []);
    const unknown = { ...SHOP, clusterId: '' };
    await assert.rejects(
      openLocationRepository(access, unknown, deps, { create: true }),
      fails('CLUSTER_FORBIDDEN', /may not get the namespace kube-system/),
    );
  });
});

describe('the backups of a location', () => {
  it('are listed over all namespaces, by time, and by filter', async () => {
    const access = accessWith();
    const deps = bucket();
    const first = await addBackup(access, SHOP, deps, 'web', 'nightly', 'aaaaaaaa');
    const second = await addBackup(access, BLOG, deps, 'wordpress', 'nightly', 'bbbbbbbb');
    const third = await addBackup(access, SHOP, deps, 'web', 'before-upgrade', 'cccccccc');
    const ids = async (filter = {}) => (await listBackups(access, filter, deps)).backups.map(({ backup }) => backup.id);
    assert.deepEqual(await ids(), [first, second, third]);
    assert.deepEqual(await ids({ namespace: 'blog' }), [second]);
    assert.deepEqual(await ids({ app: 'web' }), [first, third]);
    assert.deepEqual(await ids({ clusterId: 'cluster-2' }), []);
    const find = async (which: string, filter = {}) => (await findBackup(access, which, filter, deps)).backup.id;
    assert.equal(await find('before-upgrade'), third);
    assert.equal(await find('bbbbbbbb'), second);
    assert.equal(await find(first), first);
    assert.equal(await find(first.slice(0, 12)), first);
    assert.equal(await find('latest', { app: 'web' }), third);
    assert.equal(await find('nightly', { namespace: 'blog' }), second);
    await assert.rejects(
      find('nightly'),
      fails('BACKUP_NOT_FOUND', '2 backups in location eu match nightly', new RegExp(`${first} \\(web in prod/shop\\), ${second}`)),
    );
    await assert.rejects(find('latest'), fails('BACKUP_NOT_FOUND', '2 backups in location eu match latest'));
    await assert.rejects(
      find('weekly'),
      fails('BACKUP_NOT_FOUND', 'no backup weekly in location eu', new RegExp(`the last one is ${third}`)),
    );
    await assert.rejects(
      find('x', { app: 'none' }),
      fails('BACKUP_NOT_FOUND', 'no backup x in location eu', /^kubectl dmaas backup list$/),
    );
  });

  it('that cannot be read do not hide the others', async () => {
    const access = accessWith();
    const deps = bucket();
    const bad = await addBackup(access, SHOP, deps, 'web', 'bad', 'aaaaaaaa');
    const good = await addBackup(access, SHOP, deps, 'web', 'good', 'bbbbbbbb');
    const blog = await addBackup(access, BLOG, deps, 'blog', 'blog', 'cccccccc');
    await deps.store.put(keyIn(access, SHOP, `backups/${bad}`), new Uint8Array(100));
    const listed = await listBackups(access, {}, deps);
    assert.deepEqual(
      listed.backups.map(({ backup }) => backup.id),
      [good, blog],
    );
    assert.deepEqual(
      listed.findings.map((f) => [f.level, f.code]),
      [['warning', 'backup-unreadable']],
    );
    await deps.store.put(keyIn(access, BLOG, 'dmaas.json'), new Uint8Array(100));
    const rest = await listBackups(access, {}, deps);
    assert.deepEqual(
      rest.backups.map(({ backup }) => backup.id),
      [good],
    );
    assert.equal(rest.findings.length, 2);
  });
});

describe('a backup of a location whose record cannot be read', () => {
  const access = accessWith();
  let deps: ReturnType<typeof bucket>;
  let first: string, second: string, third: string;
  const find = async (which: string, filter = {}) => (await findBackup(access, which, filter, deps)).backup.id;
  const damage = (id: string) => deps.store.put(keyIn(access, SHOP, `backups/${id}`), new Uint8Array(100));

  beforeEach(async () => {
    deps = bucket();
    first = await addBackup(access, SHOP, deps, 'web', 'one', 'aaaaaaaa');
    second = await addBackup(access, SHOP, deps, 'web', 'two', 'bbbbbbbb');
    third = await addBackup(access, SHOP, deps, 'web', 'three', 'cccccccc');
  });

  it('is not replaced by the one before it, which is named instead', async () => {
    await damage(third);
    const says = new RegExp(`^backup ${third} of namespace shop: backups/${third} is damaged`);
    const next = new RegExp(`^the newest that can be read is ${second} \\(two of .*\\): name it by this id to use it; verify`);
    for (const which of ['latest', third, 'cccccccc', third.slice(0, 14)]) {
      await assert.rejects(find(which, { app: 'web' }), fails('REPOSITORY_CORRUPT', says, next), which);
    }
    await assert.rejects(find('2026', { app: 'web' }), fails('REPOSITORY_CORRUPT', says, next), 'one of several');
    assert.equal(await find(second), second);
    assert.equal(await find('two'), second);
  });

  it('is not in the way of newer ones', async () => {
    await damage(second);
    assert.equal(await find('latest'), third);
    await addBackup(access, BLOG, deps, 'blog', 'four', 'dddddddd');
    await damage(third);
    assert.match(await find('latest', { app: 'blog' }), /dddddddd$/);
    await assert.rejects(find('latest', { app: 'web' }), fails('REPOSITORY_CORRUPT', /./, new RegExp(first)));
  });

  it('is said to be there when nothing can be read', async () => {
    for (const id of [first, second, third]) await damage(id);
    await assert.rejects(find('latest'), fails('REPOSITORY_CORRUPT', new RegExp(third), /^verify/));
    await assert.rejects(find('three'), fails('BACKUP_NOT_FOUND', 'no backup three in location eu', new RegExp(`${third} is damaged`)));
  });

  it('may be in a repository that cannot be opened', async () => {
    await addBackup(access, BLOG, deps, 'blog', 'four', 'dddddddd');
    await deps.store.delete(keyIn(access, BLOG, 'dmaas.json'));
    const says = /^backups of namespace blog: dmaas.json is damaged: it is missing/;
    await assert.rejects(find('latest'), fails('REPOSITORY_CORRUPT', says, new RegExp(third)));
    assert.equal(await find('latest', { namespace: 'shop' }), third);
    assert.equal(await find('three'), third);
    await assert.rejects(find('four'), fails('BACKUP_NOT_FOUND', /no backup four/, /^backups of namespace blog: dmaas.json is damaged/));
  });

  it('is not looked for where a repository was begun and nothing stored', async () => {
    await (await openLocationRepository(access, BLOG, deps, { create: true })).close();
    await deps.store.delete(keyIn(access, BLOG, 'dmaas.json'));
    assert.equal(await find('latest'), third);
  });

  it('is not called missing by who has the wrong key', async () => {
    await assert.rejects(
      findBackup(accessWith(), 'latest', {}, deps),
      fails(
        'BACKUP_NOT_FOUND',
        'no backup latest in location eu',
        /^the key of location eu opens none of 1 repository in bucket bucket.*; import/,
      ),
    );
  });
});

describe('the check of a location', () => {
  it('tries all the store must do, and leaves nothing there', async () => {
    const deps = bucket();
    const results = await checkLocation(accessWith(), deps);
    assert.ok(results.length > 5);
    assert.deepEqual(
      results.filter((r) => !r.ok),
      [],
    );
    assert.deepEqual(await keysOf(deps.store), []);
  });
});
