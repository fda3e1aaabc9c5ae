import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, openSync } from 'node:fs';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { Repository } from '../repository/repository.ts';
import { PieceBatches, type PieceSink } from './batches.ts';
import { deviceBytes } from './capture-device.ts';
import { bytesOf, extentsOf } from './content.ts';
import { clear, comparer } from './in-place.ts';
import { isZero, readFully } from './io.ts';
import { errorCode, type Posix } from './posix.ts';
import { TargetSpace } from './target-space.ts';
import type { MoverThreads } from './threads.ts';
import type { Volume } from './volume-node.ts';

export interface DeviceTask {
  readonly path: string;
  readonly name: string;
  readonly volume: Volume;
  readonly repository: Pick<Repository, 'read' | 'readMany' | 'fetchMany' | 'dataId'>;
  readonly threads: MoverThreads;
  /** It holds data, and only what differs is written. */
  readonly isInPlace: boolean;
  readonly onWritten: (bytes: number) => void;
  readonly native: Posix | undefined;
  readonly onBytes: (bytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

/** Where file systems, partition tables and volume managers keep what they are recognised by. */
const HEAD_BYTES = 4 << 20;
/** What a device writes at once, so that an interrupted write leaves each whole or not begun. */
const PAGE_BYTES = 4096;

/**
 * Writes a device. Nothing on a device can say how far an interrupted run has come, so a second run begins again; and it cannot be told
 * from a foreign one but by its beginning: that must be zeros, or what the backup has there. A part of a device is worth nothing: any fault ends it.
 */
export async function populateDevice(task: DeviceTask): Promise<void> {
  const { path, name, volume, native } = task;
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    const isFile = fstatSync(fd).isFile();
    const bytes = deviceBytes(fd, native);
    if (!isFile && bytes < volume.bytes) {
      throw new DmaasError('PREFLIGHT_FAILED', `${name}: the device has ${bytes} bytes, the backup needs ${volume.bytes}`, {
        hint: 'restore into a volume that is at least as large',
      });
    }
    if (!task.isInPlace) await checkEmpty(fd, task);
    if (isFile) ftruncateSync(fd, volume.bytes);
    await writeDevice(fd, task);
    fsyncSync(fd);
  } catch (error) {
    const code = errorCode(error);
    if (code === undefined) throw error;
    const full = fd === undefined ? undefined : new TargetSpace(fd, name, volume).errorOf(code, error);
    throw full ?? new DmaasError('MOVER_FAILED', `${name}: the device cannot be written (${code})`, { cause: error });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

async function checkEmpty(fd: number, { name, repository, volume }: DeviceTask): Promise<void> {
  let offset = 0;
  const length = Math.min(HEAD_BYTES, volume.bytes);
  for await (const expected of bytesOf(repository, { node: volume.top }, volume.bytes, { offset: 0, length })) {
    const actual = Buffer.alloc(expected.length);
    await readFully(fd, actual, offset);
    for (let at = 0; at < actual.length; at += PAGE_BYTES) {
      const page = actual.subarray(at, at + PAGE_BYTES);
      if (isZero(page) || page.equals(expected.subarray(at, at + PAGE_BYTES))) continue;
      throw new DmaasError('PREFLIGHT_FAILED', `${name}: the device is not empty`, { hint: 'restore into a new volume' });
    }
    offset += expected.length;
  }
}

async function writeDevice(fd: number, task: DeviceTask): Promise<void> {
  const { repository, threads, volume, native, onBytes, onWritten, signal } = task;
  const isThere = task.isInPlace ? comparer(repository) : () => Promise.resolve(false);
  const sink: PieceSink<undefined> = {
    destination: ({ offset, length }) => ({ fd, offset, length }),
    withdraw: () => undefined,
    settle: ({ length }, fault) => {
      if (fault?.what === 'content') throw Object.assign(new Error(fault.reason), { code: fault.reason });
      if (fault !== undefined) throw new DmaasError('REPOSITORY_CORRUPT', fault.reason);
      onWritten(length);
      onBytes(length);
    },
    giveUp: (_piece, error) => {
      throw error ?? new DmaasError('INTERNAL', 'a part of a device was not wanted');
    },
  };
  const batches = new PieceBatches<undefined>({ repository, threads, native, sink, signal });
  try {
    for await (const { offset, length, id } of extentsOf(repository, { node: volume.top }, volume.bytes)) {
      throwIfCancelled(signal);
      if (id === undefined) {
        await clear(fd, offset, length, native);
        onBytes(length);
      } else if (await isThere(fd, { offset, length, id })) onBytes(length);
      else if (batches.add({ file: undefined, offset, length, id })) await batches.send(() => undefined);
    }
    await batches.send(() => undefined);
    await batches.finish();
  } finally {
    await batches.abandon();
  }
}
