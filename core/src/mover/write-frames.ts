import { DmaasError } from '../errors.ts';
import { orDamageSync, type StoredRange, type WantedBlob } from '../repository/blobs/blob-reader.ts';
import { discard, discardView } from '../discard.ts';
import type { RepositoryKeys } from '../repository/format/key-set.ts';
import { blobOf, openFramePayloadSync } from '../repository/format/pack-reader.ts';
import { checkChunk } from './content.ts';
import { writeFullySync, writeNewFile, type NewFile } from './new-file.ts';
import { errorCode, type Posix } from './posix.ts';

/** Where a chunk goes: into an open file, or as all of a file that is to be made. `length` is what it must have. */
export type Destination = { readonly length: number } & ({ readonly fd: number; readonly offset: number } | { readonly file: NewFile });

export interface WriteTask extends Omit<StoredRange, 'frames'> {
  readonly frames: readonly {
    readonly offset: number;
    readonly length: number;
    readonly blobs: readonly (WantedBlob & { readonly to: Destination })[];
  }[];
}

/** What went wrong with the blob that was wanted in place `i`. */
export interface WriteFault {
  readonly i: number;
  /** `damaged`: it is not what its id says there. `misfit`: it is, but not what belongs in its place. Else the system's code: of its content, or of an attribute only. */
  readonly what: 'damaged' | 'misfit' | 'content' | 'attribute';
  readonly reason: string;
}

export interface WriteResult {
  readonly faults: readonly WriteFault[];
}

/** Opens frames, checks each blob against its id, and writes it to where it belongs. */
export function writeFrames({ key, kind, bytes, frames }: WriteTask, keys: RepositoryKeys, native: Posix | undefined): WriteResult {
  const faults: WriteFault[] = [];
  for (const { offset, length, blobs } of frames) {
    const payload = orDamageSync(() => openFramePayloadSync(keys, bytes.subarray(offset, offset + length), key));
    for (const blob of blobs) {
      const data = DmaasError.is(payload) ? payload : orDamageSync(() => blobOf(keys, payload, blob, kind, key));
      if (DmaasError.is(data)) faults.push({ i: blob.i, what: 'damaged', reason: data.message });
      else {
        const fault = deliver(data, blob.to, native);
        if (fault !== undefined) faults.push({ i: blob.i, ...fault });
      }
    }
    if (!DmaasError.is(payload)) discardView(payload);
  }
  discard(bytes.buffer);
  return { faults };
}

/** Writes a chunk to where it belongs. What is wrong with the place is returned. */
export function deliver(data: Uint8Array, to: Destination, native: Posix | undefined): Omit<WriteFault, 'i'> | undefined {
  try {
    checkChunk(to, data);
    if ('fd' in to) {
      writeFullySync(to.fd, data, to.offset);
      return undefined;
    }
    const reason = writeNewFile(to.file, data, native);
    return reason === undefined ? undefined : { what: 'attribute', reason };
  } catch (error) {
    if (DmaasError.is(error, 'REPOSITORY_CORRUPT')) return { what: 'misfit', reason: error.message };
    const reason = errorCode(error);
    if (reason === undefined) throw error;
    return { what: 'content', reason };
  }
}
