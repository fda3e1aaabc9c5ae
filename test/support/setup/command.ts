import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

const TAIL_CHARACTERS = 4000;

/** What is wrong with the machine, in one sentence, and what to do about it. */
export class SetupError extends Error {
  override readonly name = 'SetupError';
  readonly hint: string;

  constructor(message: string, hint: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.hint = hint;
  }
}

export interface CommandOptions {
  readonly cwd?: string;
  /** Added to this process's environment; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Written to the command's standard input. */
  readonly input?: string | Readable;
  /** Called with each line of its standard error. */
  readonly onLine?: (line: string) => void;
}

export interface CommandResult {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function environment(changes: CommandOptions['env'] = {}): NodeJS.ProcessEnv {
  const env = { ...process.env, ...changes };
  for (const [name, value] of Object.entries(env)) if (value === undefined) Reflect.deleteProperty(env, name);
  return env;
}

/** Runs a command to its end, whatever its exit code. Rejects only when it cannot be started. */
export function attempt(command: string, args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: options.cwd, env: environment(options.env), stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    if (options.onLine !== undefined) createInterface({ input: child.stderr }).on('line', options.onLine);
    child.once('error', reject);
    const input = typeof options.input === 'object' ? options.input : Readable.from([options.input ?? '']);
    pipeline(input, child.stdin).catch((error: unknown) => {
      // A program may end without reading all of its input; its exit code tells. A source that fails is our failure.
      if (input.errored !== null) reject(error instanceof Error ? error : new Error(String(error)));
    });
    child.once('close', (code) => {
      resolve({ code, stdout, stderr });
    });
  });
}

/** Runs a command that must succeed; returns its standard output. */
export async function run(command: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await attempt(command, args, options);
  if (result.code === 0) return result.stdout;
  const output = `${result.stdout}${result.stderr}`.trim().slice(-TAIL_CHARACTERS);
  throw new Error(`${[command, ...args].join(' ')} ended with ${result.code ?? 'a signal'}:\n${output}`);
}

/** Whether a program of that name can be started at all. */
export async function exists(command: string, args: readonly string[] = ['--version']): Promise<boolean> {
  try {
    await attempt(command, args);
    return true;
  } catch {
    return false;
  }
}
