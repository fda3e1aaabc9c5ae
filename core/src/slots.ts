/** Bounds what runs at the same time, first come first served. `size` and what is taken are in any one unit: calls, or bytes. */
export class Slots {
  #size: number;
  #free: number;
  readonly #waiting: { readonly amount: number; readonly admit: () => void }[] = [];

  constructor(size: number) {
    this.#size = size;
    this.#free = size;
  }

  /** Something larger than all slots together runs alone. */
  async acquire(amount = 1): Promise<void> {
    const needed = Math.min(amount, this.#size);
    if (this.#waiting.length === 0 && this.#free >= needed) {
      this.#free -= needed;
      return;
    }
    await new Promise<void>((admit) => this.#waiting.push({ amount: needed, admit }));
  }

  /** The same amount as was acquired. */
  release(amount = 1): void {
    this.#free += Math.min(amount, this.#size);
    this.#admit();
  }

  /** By a negative amount, to shrink: what is taken meanwhile stays taken. */
  grow(amount: number): void {
    this.#size += amount;
    this.#free += amount;
    this.#admit();
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined && this.#free >= next.amount; next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#free -= next.amount;
      next.admit();
    }
  }
}
