/** Beyond this many, what failed is still found missing, only not why; of content it is only told that there is more. */
const MAX_PROBLEMS = 100_000;

export interface Problem {
  readonly reason: string;
  /** A file may be there, but without its content: that cannot be seen by looking. */
  readonly isOfContent?: boolean;
  /** The entry may well be there, and lack no more than this. */
  readonly isOfAttribute?: boolean;
  /** The entry is not to be made, however often it is tried. */
  readonly isDeclined?: boolean;
}

/** Why entries could not be restored. Whether they are there is judged at the end, by looking. */
export class Problems {
  readonly #problems = new Map<string, Problem>();
  readonly #check: (problem: Problem) => void;
  #hasMoreOfContent = false;

  /** `check`: told of each problem first; throws what ends the restore. */
  constructor(check: (problem: Problem) => void = () => undefined) {
    this.#check = check;
  }

  /** Files are without their content that are not known by name. */
  get hasMoreOfContent(): boolean {
    return this.#hasMoreOfContent;
  }

  /** The first one stays, unless only a later one is of content. */
  add(path: Buffer, problem: Problem): void {
    this.#check(problem);
    const key = path.toString('latin1');
    const known = this.#problems.get(key);
    if (known?.isOfContent === true || (known !== undefined && problem.isOfContent !== true)) return;
    if (known !== undefined || this.#problems.size < MAX_PROBLEMS) this.#problems.set(key, problem);
    else if (problem.isOfContent === true) this.#hasMoreOfContent = true;
  }

  of(path: Buffer): Problem | undefined {
    return this.#problems.size === 0 ? undefined : this.#problems.get(path.toString('latin1'));
  }
}
