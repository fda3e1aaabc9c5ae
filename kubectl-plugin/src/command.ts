import type { Session } from './session.ts';
import type { Args } from './args.ts';
import type { Result } from './output.ts';

/** A flag, as help, the parser, completion and the reference see it. */
export interface Flag {
  readonly name: string;
  readonly short?: string;
  /** `list` may be given several times or comma-separated. */
  readonly type: 'string' | 'boolean' | 'list';
  readonly describe: string;
  /** Word for the value in help, e.g. `NAME`. */
  readonly value?: string;
  readonly choices?: readonly string[];
  readonly default?: string | boolean;
  /** What completion offers for the value. */
  readonly complete?: Completer;
}

export interface Positional {
  readonly name: string;
  readonly describe: string;
  readonly required: boolean;
  readonly many?: boolean;
  readonly complete?: Completer;
}

/** Offers values for what is being typed; each may carry a description. Failures offer nothing. */
export type Completer = (session: Session, args: Args) => Promise<readonly { readonly value: string; readonly describe?: string }[]>;

/** One command. The table of all of them is the only source of the parser, the help, completion and the reference. */
export interface Command {
  /** Words after `kubectl dmaas`, e.g. `backup create`. */
  readonly path: readonly string[];
  /** Other words for the last one. */
  readonly aliases?: readonly string[];
  readonly summary: string;
  readonly description?: string;
  readonly positionals?: readonly Positional[];
  readonly flags?: readonly Flag[];
  /** Pairs of what it does and the command line, which begins after `kubectl dmaas `. */
  readonly examples?: readonly (readonly [string, string])[];
  readonly hidden?: boolean;
  /** Whether `-o` makes sense. */
  readonly output?: boolean;
  run(session: Session, args: Args): Promise<Result>;
}

/** Groups of commands: the nouns. */
export interface Group {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly summary: string;
}
