import * as z from 'zod';
import type { Cluster } from '../cluster/cluster.ts';
import type { Scheduling } from '../discovery/application.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refName } from '../model.ts';
import type { Finding, ObjectRef } from '../model.ts';
import { moverDataPath } from '../mover/job.ts';
import type { MoverIdentity, MoverProfile } from '../mover/job.ts';
import type { Missing } from '../mover/missing.ts';
import type { Mover } from '../mover/mover.ts';
import { moverResultName, moverResultSchema } from '../mover/task.ts';
import type { MoverResult } from '../mover/task.ts';
import type { OperationId } from '../operation.ts';
import { parseBlobId } from '../repository/format/blob.ts';
import type { RunRecords } from '../repository/repository.ts';
import type { StoreConfig } from '../store/config.ts';
import { forEachOrStop } from './for-each-or-stop.ts';

/** One claim to fill. It exists, and nothing else uses it: the mover is its first consumer, or its only one. */
export interface PopulateItem {
  readonly claim: ObjectRef;
  /** Of the volume within the operation. */
  readonly index: number;
  readonly mode: 'filesystem' | 'block';
  /** The volume's root in the backup. */
  readonly root: string;
  readonly profile: MoverProfile;
  readonly identity: MoverIdentity;
  /** From `placeForWorkload`. */
  readonly placement: Scheduling;
  readonly allowDevices?: boolean;
  /** The claim holds data, and is made what the backup has. Nothing may use it meanwhile. */
  readonly isInPlace?: boolean;
  /** What cannot be restored is done without. */
  readonly allowMissing?: boolean;
}

export interface PopulateResult {
  readonly claim: ObjectRef;
  readonly files: number;
  readonly bytes: number;
  /** Of content, written: less than `bytes` where some was there. Absent when a mover of an older version did it. */
  readonly writtenBytes?: number;
  /** Absent as well then. */
  readonly missing?: Missing;
  /** Something is missing that was not allowed to be: the claim is not to be used, and is tried again when this is repeated. */
  readonly isUnfinished?: boolean;
  readonly findings: readonly Finding[];
}

export interface PopulateDeps {
  readonly cluster: Cluster;
  readonly mover: Mover;
  readonly runs: Pick<RunRecords, 'get' | 'put'>;
  /** What movers get: store and key of the repository that holds the backup. */
  readonly store: StoreConfig;
  readonly unlock: string;
  /** Movers at the same time. Default 4. */
  readonly maxMovers?: number;
}

const DEFAULT_MAX_MOVERS = 4;

/**
 * Fills claims from the repository, some at a time; the results are in the order of the items. Run again with the same operation
 * it goes on where it was. The first failure stops the others, which can go on as well.
 */
export async function populateVolumes(
  operation: OperationId,
  items: readonly PopulateItem[],
  deps: PopulateDeps,
  run: RunOptions,
): Promise<readonly PopulateResult[]> {
  const results = new Map<PopulateItem, PopulateResult>();
  await forEachOrStop(items, deps.maxMovers ?? DEFAULT_MAX_MOVERS, run, async (item, each) => {
    results.set(item, await populateOne(operation, item, deps, each));
  });
  return items.flatMap((item) => results.get(item) ?? []);
}

async function populateOne(operation: OperationId, item: PopulateItem, deps: PopulateDeps, run: RunOptions): Promise<PopulateResult> {
  const { claim, index, mode, profile, identity, placement, allowDevices, isInPlace, allowMissing } = item;
  await expectSameClaim(operation, item, deps, run);
  const devices = allowDevices === undefined ? {} : { allowDevices };
  const result = await deps.mover.run(
    {
      spec: {
        operation,
        index,
        namespace: claim.namespace ?? '',
        direction: 'populate',
        claim: claim.name,
        mode,
        profile,
        identity,
        placement,
        ...devices,
      },
      task: {
        schema: 1,
        operation,
        index,
        direction: 'populate',
        volume: { claim: claim.name, mode },
        path: moverDataPath(mode),
        store: deps.store,
        unlock: deps.unlock,
        root: parseBlobId(item.root, `the volume ${claim.name} of the backup`),
        ...devices,
        ...(isInPlace === undefined ? {} : { isInPlace }),
        ...(allowMissing === undefined ? {} : { allowMissing }),
      },
    },
    run,
  );
  return resultOf(claim, result);
}

/** What movers have recorded of claims that are filled, which are left alone. Of which nothing is recorded is left out. */
export async function recordedResults(
  operation: OperationId,
  items: readonly Pick<PopulateItem, 'claim' | 'index'>[],
  runs: Pick<RunRecords, 'get'>,
  run: RunOptions,
): Promise<readonly PopulateResult[]> {
  const call = run.signal === undefined ? {} : { signal: run.signal };
  const results: PopulateResult[] = [];
  for (const { claim, index } of items) {
    const record = await runs.get(operation, moverResultName({ index }), call);
    if (record !== undefined) results.push(resultOf(claim, moverResultSchema.parse(record)));
  }
  return results;
}

function resultOf(claim: ObjectRef, { files, bytes, writtenBytes, missing, isUnfinished, findings }: MoverResult): PopulateResult {
  return {
    claim,
    files,
    bytes,
    ...(writtenBytes === undefined ? {} : { writtenBytes }),
    ...(missing === undefined ? {} : { missing }),
    ...(isUnfinished === undefined ? {} : { isUnfinished }),
    findings,
  };
}

const claimSchema = z.object({ uid: z.string() });

/** A result of this operation says that a claim is filled; it must not be believed of another claim that has taken its name. */
async function expectSameClaim(operation: OperationId, { claim, index }: PopulateItem, deps: PopulateDeps, run: RunOptions): Promise<void> {
  const call = run.signal === undefined ? {} : { signal: run.signal };
  const name = `claim-${index}`;
  const uid = (await deps.cluster.get(claim))?.metadata.uid;
  if (uid === undefined)
    throw new DmaasError('RESTORE_STEP_FAILED', `${refName(claim, true)} does not exist`, { hint: 'run the restore again' });
  const read = async () => claimSchema.optional().parse(await deps.runs.get(operation, name, call));
  let known = await read();
  if (known === undefined) {
    known = { uid };
    try {
      await deps.runs.put(operation, name, known, call);
    } catch (e) {
      if (!DmaasError.is(e, 'STORE_EXISTS')) throw e;
      known = (await read()) ?? known; // another process goes on with the same operation
    }
  }
  if (known.uid === uid) return;
  throw new DmaasError('RESTORE_STEP_FAILED', `${refName(claim, true)} is not the claim that operation ${operation} began to fill`, {
    hint: 'start a new restore',
  });
}
