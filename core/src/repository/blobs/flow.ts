import { Slots } from '../../slots.ts';

/** Requests in flight, with what has arrived and is being opened: what it begins with, and what it may become. */
const REQUESTS = { first: 6, least: 4, most: 20 } as const;
/** What has arrived and is not opened yet: with less, whoever opens it runs dry; with more, it only takes memory. */
const AT_HAND = { least: 3, most: 5 } as const;

/**
 * How many ranges are fetched at the same time: as many as keep those busy who open them, and no more. So a near store has few requests in
 * flight, and a far one many; both without being told which it is.
 */
export class Flow {
  readonly #slots = new Slots(REQUESTS.first);
  readonly #bytes: Slots;
  #limit: number = REQUESTS.first;
  #atHand = 0;

  /** `maxBytes`: of all ranges that are in memory, whatever their number. */
  constructor(maxBytes: number) {
    this.#bytes = new Slots(maxBytes);
  }

  get limit(): number {
    return this.#limit;
  }

  /** The most that it ever lets run. */
  static get most(): number {
    return REQUESTS.most;
  }

  /** Fetches and opens one range of so many bytes, when there is room. */
  async run<T, R>(bytes: number, fetch: () => Promise<T>, open: (fetched: T) => Promise<R>): Promise<R> {
    await this.#slots.acquire();
    try {
      await this.#bytes.acquire(bytes);
      try {
        const fetched = await fetch();
        this.#atHand += 1;
        this.#adapt();
        try {
          return await open(fetched);
        } finally {
          this.#atHand -= 1;
        }
      } finally {
        this.#bytes.release(bytes);
      }
    } finally {
      this.#slots.release();
    }
  }

  #adapt(): void {
    if (this.#atHand < AT_HAND.least && this.#limit < REQUESTS.most) this.#change(1);
    else if (this.#atHand > AT_HAND.most && this.#limit > REQUESTS.least) this.#change(-1);
  }

  #change(by: number): void {
    this.#limit += by;
    this.#slots.grow(by);
  }
}
