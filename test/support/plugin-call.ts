import { PassThrough } from 'node:stream';
import { run } from '../../kubectl-plugin/src/run.ts';
import type { Session, Streams } from '../../kubectl-plugin/src/session.ts';
import type { CommandResult } from './setup/command.ts';

export interface CallOptions {
  /** All of it: nothing of this process's environment is seen. */
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
  readonly signal?: AbortSignal;
  readonly SessionOf?: typeof Session;
}

/** `kubectl dmaas` from its sources and in this process. Its streams are no terminals. */
export async function callPlugin(args: readonly string[], options: CallOptions = {}): Promise<CommandResult> {
  const { env = {}, input = '', signal = new AbortController().signal, SessionOf } = options;
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const written = [stdout, stderr].map((stream) => {
    const parts: Buffer[] = [];
    stream.on('data', (part: Buffer) => parts.push(part));
    return parts;
  });
  stdin.end(input);
  const code = await run(args, { stdin, stdout, stderr, env } as unknown as Streams, signal, SessionOf);
  const [out = '', err = ''] = written.map((parts) => Buffer.concat(parts).toString());
  return { code, stdout: out, stderr: err };
}
