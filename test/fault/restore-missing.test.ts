import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { DmaasEvent } from '../../core/src/events.ts';
import { openLocationRepository } from '../../core/src/location/open.ts';
import type { LocationRepository } from '../../core/src/location/open.ts';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { ANNOTATIONS } from '../../core/src/operation.ts';
import { parseKey } from '../../core/src/repository/keys/keys.ts';
import { openRepository } from '../../core/src/repository/repository.ts';
import type { RestoreOptions } from '../../core/src/restore/model.ts';
import { preflightRestore } from '../../core/src/restore/preflight.ts';
import { executeRestore, getRestore, resumeRestore } from '../../core/src/restore/restore.ts';
import type { PreparedRestore, RestoreRequest } from '../../core/src/restore/restore.ts';
import { execute } from '../../kubectl-plugin/src/commands/restore.ts';
import type { Session } from '../../kubectl-plugin/src/session.ts';
import { accessWith, bucket } from '../support/location.ts';
import { losing } from '../support/damaged.ts';
import { OPERATION, shop, storageClass, volumeOf } from '../support/restore.ts';
import { simulatedCluster } from '../support/simulated-cluster.ts';

const SOURCE = { clusterId: 'cluster-a', namespace: 'shop', context: 'prod' };
const NAMES = ['data-db-0', 'uploads'];
const quiet = { emit: () => undefined };

describe('a restore of a repository that lost a file', function () {
  this.timeout(60_000);
  let directory: string;
  let request: RestoreRequest;
  let cluster: MemoryCluster;
  let source: LocationRepository;
  let isDamaged: boolean;
  const path = (claim: string) => join(directory, 'volumes', claim);
  const filled = () =>
    cluster.objects().flatMap((o) => (o.metadata.annotations?.[ANNOTATIONS.populated] === undefined ? [] : [o.metadata.name]));

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'dmaas-test-missing-'));
    isDamaged = true;
    const [access, stores] = [accessWith(), bucket()];
    source = await openLocationRepository(access, SOURCE, stores, { create: true });
    cluster = simulatedCluster({
      volumes: join(directory, 'volumes'),
      repository: async () => {
        const whole = await openRepository(source.objects, parseKey(source.unlock));
        return isDamaged ? losing(whole, ({ innerLength }) => innerLength === 4) : whole;
      },
      options: { context: 'dr', id: 'cluster-b', objects: [storageClass('fast', true)] },
    });
    request = { cluster, access, stores, moverOptions: {}, maxMovers: 2 };
  });
  afterEach(async () => {
    await source.close();
    await rm(directory, { recursive: true });
  });

  /** Both claims and what they hold, of which `uploads` has a file that is lost. */
  async function prepared(options: Partial<RestoreOptions> = {}): Promise<PreparedRestore> {
    const volumes = await Promise.all(
      NAMES.map(async (name) => {
        const from = join(directory, 'source', name);
        await mkdir(from, { recursive: true });
        await writeFile(join(from, 'file'), 'content');
        if (name === 'uploads') await writeFile(join(from, 'lost'), 'lost');
        const { root, files, bytes } = await captureVolume({ name, path: from, mode: 'filesystem', repository: source.repository }, quiet);
        return volumeOf(name, { root, files, bytes });
      }),
    );
    const all = { activate: true, volumesOnly: true, ...options };
    const plan = await preflightRestore(OPERATION, { ...shop(), volumes }, cluster, all, quiet);
    return { plan, request, source, close: () => source.close() };
  }
  const stops = (work: Promise<unknown>) =>
    assert.rejects(work, (e) => {
      assert.ok(DmaasError.is(e, 'RESTORE_STEP_FAILED'), String(e));
      assert.equal(e.message, 'claim uploads lacks 1 file of the backup: lost');
      return true;
    });
  const resume = async (change: Parameters<typeof resumeRestore>[2] = {}) =>
    resumeRestore(request, await getRestore(request.access, OPERATION, request.stores), change, quiet);

  it('stops, and is completed when the file can be read again', async () => {
    await stops(executeRestore(await prepared(), quiet));
    assert.deepEqual(filled(), ['data-db-0']);
    await stops(resume());
    isDamaged = false;
    assert.equal((await resume()).missingFiles, 0);
    assert.deepEqual(filled(), NAMES);
    assert.equal(await readFile(join(path('uploads'), 'lost'), 'utf8'), 'lost');
  });

  it('goes on without the file when that is allowed on the way', async () => {
    await stops(executeRestore(await prepared(), quiet));
    const report = await resume({ allowMissingFiles: true });
    assert.equal(report.missingFiles, 1);
    assert.deepEqual(
      report.findings.filter(({ level }) => level === 'warning').map(({ code }) => code),
      ['entry-not-restored'],
    );
    assert.deepEqual(filled(), NAMES);
    assert.deepEqual(await readdir(path('uploads')), ['file']);
    const { record } = await getRestore(request.access, OPERATION, request.stores);
    assert.deepEqual([record.status, record.plan.options.allowMissingFiles], ['Completed', true]);
  });

  it('says what is missing also when another attempt has filled the volume', async () => {
    const plan = await prepared({ allowMissingFiles: true });
    const stopping = new AbortController();
    const emit = (event: DmaasEvent): void => {
      if (event.type === 'step' && event.title === 'fill claim uploads' && event.state === 'done') stopping.abort();
    };
    await assert.rejects(executeRestore(plan, { emit, signal: stopping.signal }), (e) => DmaasError.is(e, 'CANCELLED'));
    assert.deepEqual(filled(), NAMES);
    await writeFile(join(path('uploads'), 'new'), 'of the application');
    const { missingFiles, populatedFiles, findings } = await resume();
    assert.deepEqual([missingFiles, populatedFiles], [1, 0]);
    assert.ok(findings.some(({ code }) => code === 'entry-not-restored'));
    assert.deepEqual(await readdir(path('uploads')), ['file', 'new']);
  });

  it('does not stop when that was allowed from the beginning', async () => {
    const session = { withProgress: (run: (emit: () => void) => unknown) => run(() => undefined), signal: undefined };
    const { text, notes, exitCode } = await execute(session as unknown as Session, await prepared({ allowMissingFiles: true }));
    assert.equal(
      text?.({ wide: false, noHeaders: false }),
      `restore/${OPERATION} completed: backup-1 is in namespace shop of dr; 1 file is missing`,
    );
    assert.deepEqual(notes, ['! uploads: lost was not restored: the pack p is damaged']);
    assert.equal(exitCode, 3);
    assert.deepEqual(filled(), NAMES);
  });
});
