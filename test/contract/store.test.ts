import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { DmaasError } from '../../core/src/errors.ts';
import { STORE_CHECKS } from '../../core/src/store/checks.ts';
import type { StoreConfig } from '../../core/src/store/config.ts';
import { FileStore } from '../../core/src/store/file.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { ObjectStore } from '../../core/src/store/object-store.ts';
import { openStore } from '../../core/src/store/open.ts';
import { withPrefix } from '../../core/src/store/prefix.ts';
import { startFakeGcs } from '../support/stores/fake-gcs.ts';
import { startMinio } from '../support/stores/minio.ts';
import { startSeaweedfs } from '../support/stores/seaweedfs.ts';
import type { S3Server, StoreServer } from '../support/stores/server.ts';

interface Subject {
  readonly name: string;
  /** Opens a fresh store; the returned function takes it and its server down. */
  readonly open: () => Promise<{ readonly store: ObjectStore; readonly close: () => Promise<void> }>;
}

const SUBJECTS: readonly Subject[] = [
  { name: 'memory', open: () => Promise.resolve({ store: new MemoryStore(), close: () => Promise.resolve() }) },
  {
    name: 'a prefix of memory',
    open: () => Promise.resolve({ store: withPrefix(new MemoryStore(), 'a/b'), close: () => Promise.resolve() }),
  },
  { name: 'file', open: openFile },
  { name: 's3 on MinIO', open: () => openOn(startMinio(), s3Config) },
  { name: 's3 on SeaweedFS', open: () => openOn(startSeaweedfs(), s3Config) },
  {
    name: 'gcs on fake-gcs-server',
    open: () => openOn(startFakeGcs(), (server) => ({ provider: 'gcs', bucket: 'contract', prefix: 'in/here', endpoint: server.endpoint })),
  },
];

async function openFile() {
  const path = await mkdtemp(join(tmpdir(), 'dmaas-store-'));
  const store = new FileStore(path);
  const close = async () => {
    await store.close();
    await rm(path, { recursive: true });
  };
  return { store, close };
}

function s3Config(server: S3Server): StoreConfig {
  const credentials = { accessKeyId: server.accessKey, secretAccessKey: server.secretKey };
  return { provider: 's3', bucket: 'contract', prefix: 'in/here', endpoint: server.endpoint, region: server.region, credentials };
}

async function openOn<S extends StoreServer>(starting: Promise<S>, config: (server: S) => StoreConfig) {
  const server = await starting;
  const store = await openStore(config(server));
  const close = async () => {
    await store.close();
    await server.stop();
  };
  try {
    await server.createBucket('contract');
  } catch (e) {
    await close();
    throw e;
  }
  return { store, close };
}

for (const subject of SUBJECTS) {
  describe(`ObjectStore contract: ${subject.name}`, function () {
    this.timeout(120_000);
    let store: ObjectStore;
    let close: (() => Promise<void>) | undefined;

    before(async () => {
      ({ store, close } = await subject.open());
    });

    after(async () => {
      await close?.();
    });

    for (const check of STORE_CHECKS) {
      it(check.title, async () => {
        await check.run({ store, prefix: `checks/${check.id}/`, now: () => new Date(), listObjects: 1100, signal: undefined });
      });
    }

    it('takes bytes that threads share, as packs are', async () => {
      const bytes = Uint8Array.from({ length: 200_000 }, (_, i) => (i * 31) % 251);
      const shared = new Uint8Array(new SharedArrayBuffer(300_000), 1000, 200_000);
      shared.set(bytes);
      await store.put('checks/shared', shared, { ifAbsent: true });
      assert.deepEqual(Buffer.from((await store.get('checks/shared')) ?? []), Buffer.from(bytes));
    });

    it('C6: does not take a body that has changed since its checksum was computed', async () => {
      const body = randomBytes(200_000);
      const opts = { crc32: crc32(body), ifAbsent: true };
      await store.put('checks/c6/same', body, opts);
      assert.deepEqual(await store.get('checks/c6/same'), Uint8Array.from(body));
      body[100_000]! ^= 16;
      await assert.rejects(store.put('checks/c6/changed', body, opts), (e) => DmaasError.is(e, 'MACHINE_FAULT'));
      assert.equal(await store.get('checks/c6/changed'), undefined);
    });
  });
}
