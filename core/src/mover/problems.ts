/** Beyond this many, what failed is still found missing, only not why. */
const MAX_PROBLEMS = 100_000;

/** Why entries could not be restored. Whether they are there is judged at the end, by looking. */
export class Problems {
  readonly #reasons = new Map<string, string>();

  /** The first reason stays. */
  add(path: Buffer, reason: string): void {
    const key = path.toString('latin1');
    if (!this.#reasons.has(key) && this.#reasons.size < MAX_PROBLEMS) this.#reasons.set(key, reason);
  }

  reason(path: Buffer): string | undefined {
    return this.#reasons.size === 0 ? undefined : this.#reasons.get(path.toString('latin1'));
  }
}
