import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { comparable, liveComparable } from '../../core/src/browse/compare.ts';
import { manifestText, toYaml } from '../../core/src/browse/manifest-text.ts';
import { OpenBackup } from '../../core/src/browse/open-backup.ts';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { deleteBackup, listBackups, openLocationRepository } from '../../core/src/location/open.ts';
import type { LocatedBackup, OpenDeps } from '../../core/src/location/open.ts';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { refOf } from '../../core/src/model.ts';
import { formatKey, newKey } from '../../core/src/repository/keys/keys.ts';
import { writeManifests } from '../../core/src/repository/manifests.ts';
import type { StoreConfig } from '../../core/src/store/config.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { withPrefix } from '../../core/src/store/prefix.ts';
import { manifest } from '../support/manifests.ts';
import { recorder, scratch } from '../support/volume.ts';

const SOURCE = { clusterId: 'cluster-1', namespace: 'shop', context: 'prod' };
const MIB = 1 << 20;

/** A store that counts the bytes that are read of it. */
class CountingStore extends MemoryStore {
  bytes = 0;

  override async get(...args: Parameters<MemoryStore['get']>): ReturnType<MemoryStore['get']> {
    const found = await super.get(...args);
    this.bytes += found?.length ?? 0;
    return found;
  }
}

describe('a backup that is looked into', () => {
  const dir = scratch();
  const store = new CountingStore();
  const deps: OpenDeps = { openStore: (config: StoreConfig) => (config.prefix === undefined ? store : withPrefix(store, config.prefix)) };
  const access = {
    location: {
      name: 'eu',
      namespace: 'shop',
      bucket: 'bucket',
      prefix: '',
      credential: 'c',
      credentialNamespace: 'shop',
      key: formatKey(newKey()),
      isDefault: false,
    },
    credential: { title: 'c', namespace: 'shop', values: { kind: 'aws', accessKeyId: 'A', secretAccessKey: 'S' } },
  } as const;
  const set = manifest('StatefulSet', 'db', { spec: { replicas: 1 } });
  let located: LocatedBackup;

  before(async () => {
    const volume = join(dir.path, 'volume');
    mkdirSync(join(volume, 'letters'), { recursive: true });
    writeFileSync(join(volume, 'letters/note'), 'hello world');
    // Bytes that do not compress and do not repeat, so that reading less is seen.
    writeFileSync(join(volume, 'large'), createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(24 * MIB)));
    writeFileSync(Buffer.concat([Buffer.from(`${volume}/`), Buffer.of(0xff, 0x5c, 0x41)]), 'odd');
    const open = await openLocationRepository(access, SOURCE, deps, { create: true });
    const { root } = await captureVolume({ name: 'data', path: volume, mode: 'filesystem', repository: open.repository }, recorder());
    const manifests = await open.repository.write((writer) => writeManifests(writer, [{ object: set, because: [] }]));
    const time = '2026-11-22T10:00:00.000Z';
    const record = {
      claim: 'data',
      mode: 'filesystem',
      storageClass: 'fast',
      driver: '',
      accessModes: [] as string[],
      capacityBytes: 1,
      method: 'live',
      consistentAt: time,
      root,
      files: 3,
      bytes: 1,
      addedBytes: 1,
    } as const;
    const backup = await open.repository.commit({
      ...{ operation: 'operation1', name: 'first', startedAt: time, tool: 'test', manifests, members: 1, findings: [], labels: {} },
      app: { name: 'shop', namespace: 'shop', selector: {} },
      cluster: { id: SOURCE.clusterId, context: SOURCE.context, version: 'v1' },
      volumes: [record],
    });
    await open.close();
    located = { backup, source: SOURCE };
  });

  after(() => {
    dir.rm();
  });

  const opened = async <T>(look: (open: OpenBackup) => Promise<T>): Promise<T> => {
    const open = await OpenBackup.open(access, located, deps);
    try {
      return await look(open);
    } finally {
      await open.close();
    }
  };
  const text = async (parts: AsyncIterable<Uint8Array>): Promise<string> => {
    let all = '';
    for await (const part of parts) all += Buffer.from(part).toString('latin1');
    return all;
  };

  it('shows its manifests, one by one', async () => {
    await opened(async (open) => {
      assert.deepEqual(await open.manifests(), [set]);
      assert.deepEqual(await open.manifest({ ...refOf(set), apiVersion: 'apps/v1beta2' }), set);
      assert.equal(await open.manifest({ ...refOf(set), name: 'other' }), undefined);
    });
  });

  it('lists folders, and finds every name again that it shows', async () => {
    await opened(async (open) => {
      const names: string[] = [];
      for await (const { path, type, sizeBytes } of open.list('data', '.')) {
        names.push(`${type} ${path} ${String(sizeBytes)}`);
        assert.equal((await open.stat('data', path))?.path, path);
      }
      assert.deepEqual(names, ['file large 25165824', 'directory letters 0', 'file \\xff\\x5cA 3']);
      assert.equal(await text(open.read('data', '\\xff\\x5cA')), 'odd');
      assert.equal(await text(open.read('data', 'letters/note')), 'hello world');
    });
  });

  it('reads of a large file what a range needs, and of others nothing', async () => {
    const read = async (range?: { offset: number; length: number }): Promise<number> => {
      const before = store.bytes;
      await opened((open) => text(open.read('data', 'large', range === undefined ? {} : { range })));
      return store.bytes - before;
    };
    const all = await read();
    const some = await read({ offset: 12 * MIB, length: 10 });
    assert.ok(all > 24 * MIB, `the file has only ${String(all)} bytes in the store`);
    assert.ok(some * 2 < all, `10 bytes took ${String(some)} of ${String(all)}`);
  });

  it('says what it does not have', async () => {
    await opened(async (open) => {
      assert.equal(await open.stat('data', 'nothing'), undefined);
      await assert.rejects(
        open.stat('other', '.'),
        (e) => DmaasError.is(e, 'USAGE') && e.message === 'backup first has no volume other' && /^it has /.test(e.hint ?? ''),
      );
    });
  });

  it('is found to be gone when it was deleted meanwhile', async () => {
    await deleteBackup(access, { id: located.backup.id, source: located.source }, deps);
    await assert.rejects(OpenBackup.open(access, located, deps), (e) => DmaasError.is(e, 'BACKUP_NOT_FOUND'));
  });

  it('is not missed silently when the key is the wrong one', async () => {
    const wrong = { ...access, location: { ...access.location, key: formatKey(newKey()) } };
    const { backups, findings } = await listBackups(wrong, {}, deps);
    assert.deepEqual(backups, []);
    assert.deepEqual(
      findings.map(({ code, level }) => [code, level]),
      [['key-opens-nothing', 'warning']],
    );
  });
});

describe('a manifest for people', () => {
  it('is YAML in kubectl’s order, with integers of 64 bits, and without the server’s book-keeping', () => {
    const object = manifest('ConfigMap', 'c', {
      metadata: { managedFields: [{ manager: 'x' }] },
      data: { b: '1', a: 'x: y' },
      big: 9007199254740993n,
    });
    assert.equal(
      manifestText(object),
      'apiVersion: v1\nbig: 9007199254740993\ndata:\n  a: "x: y"\n  b: "1"\nkind: ConfigMap\nmetadata:\n  name: c\n  namespace: shop\n',
    );
    assert.equal(toYaml([]), '[]\n');
  });

  it('tells of a Secret which values differ, and none of them', () => {
    const secret = (value: string) =>
      manifestText(manifest('Secret', 's', { data: { password: Buffer.from(value).toString('base64') }, stringData: { plain: value } }));
    const [one, same, other] = [secret('first-value'), secret('first-value'), secret('other-value')];
    assert.equal(one, same);
    assert.notEqual(one, other);
    assert.match(one, /password: "\(hidden: 11 bytes, mark [0-9a-f]{8}\)"/);
    assert.ok(!one.includes('first-value') && !one.includes(Buffer.from('first-value').toString('base64')));
    const applied = manifest('Secret', 's', {
      metadata: { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{"data":"c2VjcmV0"}', own: 'shown' } },
    });
    assert.ok(!manifestText(applied).includes('c2VjcmV0'));
    assert.match(manifestText(applied), /own: shown/);
  });
});

describe('comparing with what runs', () => {
  it('leaves out what servers and controllers write, on both sides', async () => {
    const captured = manifest('Deployment', 'web', {
      spec: { replicas: 1 },
      metadata: { uid: 'a', resourceVersion: '1', generation: 1 },
      status: { ready: 1 },
    });
    const cluster = new MemoryCluster({ objects: [manifest('Deployment', 'web', { spec: { replicas: 1 }, status: { ready: 0 } })] });
    assert.deepEqual(await liveComparable(cluster, refOf(captured)), comparable(captured));
    assert.equal(await liveComparable(cluster, { ...refOf(captured), name: 'gone' }), undefined);
  });
});
