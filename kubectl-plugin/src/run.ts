import { parse } from './cli.ts';
import { completeWords } from './complete.ts';
import { reportError } from './report-error.ts';
import { render } from './output.ts';
import { Session, type Streams } from './session.ts';

/** Runs one command line. @returns the exit code; all output goes to the streams. */
export async function run(argv: readonly string[], streams: Streams, signal: AbortSignal): Promise<number> {
  const verbosity = Number(/^(?:-v|--verbosity)=?(\d+)$/.exec(argv.find((a) => /^(-v|--verbosity)=?\d/.test(a)) ?? '')?.[1] ?? 0);
  let session: Session | undefined;
  try {
    if (argv[0] === '__complete') {
      streams.stdout.write(await completeWords(argv.slice(1), streams, signal));
      return 0;
    }
    const parsed = await parse(argv, streams.stderr.columns || 100);
    if ('help' in parsed) {
      streams.stdout.write(parsed.help);
      return 0;
    }
    session = new Session(streams, signal, parsed.args);
    const result = await parsed.command.run(session, parsed.args);
    streams.stdout.write(
      render(result, parsed.command.output === true ? parsed.args.string('output') : undefined, parsed.args.bool('no-headers')),
    );
    for (const note of result.notes ?? []) session.note(note);
    return result.exitCode ?? 0;
  } catch (error) {
    return reportError(error, streams, { verbosity: Math.max(verbosity, Number(session?.args.string('verbosity') ?? 0)) });
  } finally {
    await session?.close();
  }
}
