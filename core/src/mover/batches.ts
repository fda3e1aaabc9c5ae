import { DmaasError } from '../errors.ts';
import type { OpenRange, StoredRange } from '../repository/blobs/blob-reader.ts';
import type { BlobId } from '../repository/format/blob.ts';
import type { Repository } from '../repository/repository.ts';
import type { Posix } from './posix.ts';
import type { MoverThreads } from './threads.ts';
import { deliver, type Destination, type WriteFault, type WriteTask } from './write-frames.ts';

/** A chunk, and where it goes. */
export interface Piece<File> {
  readonly file: File;
  readonly offset: number;
  readonly length: number;
  readonly id: BlobId;
}

/** A fault of the target, or of the place of a chunk. */
export type PieceFault = Omit<WriteFault, 'i'>;

export interface PieceSink<File> {
  /** Where a chunk goes that is at hand; undefined when it is not wanted any more. Each that is wanted is settled later. */
  destination(piece: Piece<File>): Destination | undefined;
  /** A chunk has been written, or its place is at fault. */
  settle(piece: Piece<File>, fault: PieceFault | undefined): void;
  /** A chunk that was wanted is not at hand after all, and may come from elsewhere. */
  withdraw(piece: Piece<File>): void;
  /** The chunk cannot be read, or has not been wanted; it is settled with this. The rest goes on. */
  giveUp(piece: Piece<File>, error: DmaasError | undefined): void;
}

export interface BatchTools<File> {
  readonly repository: Pick<Repository, 'fetchMany'>;
  readonly threads: MoverThreads;
  readonly native: Posix | undefined;
  readonly sink: PieceSink<File>;
  readonly signal: AbortSignal | undefined;
}

/** What is planned together, so that what lies in one pack is fetched with one request, whichever file it belongs to. */
const BATCH = { pieces: 4096, bytes: 48 << 20 } as const;
/** While one is being written, the next is on its way. */
const IN_FLIGHT = 2;

interface Running {
  readonly done: Promise<void>;
  readonly onDone: () => void;
}

/** Collects chunks to fetch, and has threads write them in batches. */
export class PieceBatches<File> {
  readonly #tools: BatchTools<File>;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #running: Running[] = [];
  #batch: Piece<File>[] = [];
  #bytes = 0;

  constructor(tools: BatchTools<File>) {
    const { signal } = tools;
    this.#tools = tools;
    this.#signal = signal === undefined ? this.#abort.signal : AbortSignal.any([signal, this.#abort.signal]);
  }

  /** True when the batch is full: it should be sent off before more is added. */
  add(piece: Piece<File>): boolean {
    this.#batch.push(piece);
    this.#bytes += piece.length;
    return this.#batch.length >= BATCH.pieces || this.#bytes >= BATCH.bytes;
  }

  /** Sends the batch off. `onDone` is called when it and all before it are written. */
  async send(onDone: () => void): Promise<void> {
    const pieces = this.#batch;
    this.#batch = [];
    this.#bytes = 0;
    const done = this.#fetch(pieces);
    // Whoever waits for its turn gets the error.
    done.catch(() => undefined);
    this.#running.push({ done, onDone });
    await this.#wait(IN_FLIGHT - 1);
  }

  /** Waits until everything sent is written. */
  async finish(): Promise<void> {
    await this.#wait(0);
  }

  /** Gives up; when this resolves, nothing is written any more. */
  async abandon(): Promise<void> {
    this.#abort.abort(new DmaasError('CANCELLED', 'stopped'));
    await Promise.allSettled(this.#running.map(({ done }) => done));
  }

  async #wait(most: number): Promise<void> {
    for (let first = this.#running[0]; first !== undefined && this.#running.length > most; first = this.#running[0]) {
      await first.done;
      this.#running.shift();
      first.onDone();
    }
  }

  async #fetch(pieces: readonly Piece<File>[]): Promise<void> {
    const { repository, sink, native } = this.#tools;
    const pieceAt = (i: number) => pieces[i] as Piece<File>;
    const open: OpenRange = (range) => this.#open(range, pieceAt);
    await repository.fetchMany(
      pieces.map(({ id }) => id),
      open,
      (i, data) => {
        const to = sink.destination(pieceAt(i));
        if (to === undefined) sink.giveUp(pieceAt(i), undefined);
        else sink.settle(pieceAt(i), deliver(data, to, native));
      },
      {
        signal: this.#signal,
        onUnreadable: (i, error) => {
          sink.giveUp(pieceAt(i), error);
        },
      },
    );
  }

  async #open(range: StoredRange, pieceAt: (i: number) => Piece<File>): Promise<readonly number[]> {
    const { sink, threads } = this.#tools;
    const wanted: number[] = [];
    const frames: WriteTask['frames'][number][] = [];
    for (const { offset, length, blobs } of range.frames) {
      const placed: WriteTask['frames'][number]['blobs'][number][] = [];
      for (const blob of blobs) {
        const piece = pieceAt(blob.i);
        const to = sink.destination(piece);
        if (to === undefined) sink.giveUp(piece, undefined);
        else {
          placed.push({ ...blob, to });
          wanted.push(blob.i);
        }
      }
      if (placed.length > 0) frames.push({ offset, length, blobs: placed });
    }
    if (frames.length === 0) return [];
    // Its own memory, to be given away.
    const bytes = range.bytes.length === range.bytes.buffer.byteLength ? range.bytes : Uint8Array.from(range.bytes);
    const { key, kind } = range;
    const { faults } = await threads.run('write', { key, kind, bytes, frames }, [bytes.buffer as ArrayBuffer]);
    const byPlace = new Map(faults.map(({ i, ...fault }) => [i, fault]));
    const damagedOnes: number[] = [];
    for (const i of wanted) {
      const fault = byPlace.get(i);
      if (fault?.what === 'damaged') {
        sink.withdraw(pieceAt(i));
        damagedOnes.push(i);
      } else sink.settle(pieceAt(i), fault);
    }
    return damagedOnes;
  }
}
