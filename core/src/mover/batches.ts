import { DmaasError } from '../errors.ts';
import type { BlobId } from '../repository/blob.ts';
import type { Repository } from '../repository/repository.ts';
import { checkChunk } from './content.ts';

/** A chunk, and where it goes. */
export interface Piece<File> {
  readonly file: File;
  readonly offset: number;
  readonly length: number;
  readonly id: BlobId;
}

export interface PieceSink<File> {
  /** Several at a time, in any order. */
  write(piece: Piece<File>, data: Uint8Array): Promise<void>;
  /** The chunk cannot be read, or is not what it should be. The rest goes on. */
  onUnreadable(piece: Piece<File>, error: DmaasError): void;
}

/** What is planned together, so that what lies in one pack is fetched with one request, whichever file it belongs to. */
const BATCH = { pieces: 8192, bytes: 48 << 20 } as const;
/** While one is being written, the next is on its way. */
const IN_FLIGHT = 2;

interface Running {
  readonly done: Promise<void>;
  readonly onDone: () => void;
}

/** Collects chunks to fetch, and has them written in batches. */
export class PieceBatches<File> {
  readonly #repository: Pick<Repository, 'readMany'>;
  readonly #sink: PieceSink<File>;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #running: Running[] = [];
  #batch: Piece<File>[] = [];
  #bytes = 0;

  constructor(repository: Pick<Repository, 'readMany'>, sink: PieceSink<File>, signal: AbortSignal | undefined) {
    this.#repository = repository;
    this.#sink = sink;
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
    await this.#repository.readMany(
      pieces.map(({ id }) => id),
      async (i, data) => {
        const piece = pieces[i] as Piece<File>;
        try {
          checkChunk(piece, data);
        } catch (error) {
          if (!DmaasError.is(error)) throw error;
          this.#sink.onUnreadable(piece, error);
          return;
        }
        await this.#sink.write(piece, data);
      },
      {
        signal: this.#signal,
        onUnreadable: (i, error) => {
          this.#sink.onUnreadable(pieces[i] as Piece<File>, error);
        },
      },
    );
  }
}
