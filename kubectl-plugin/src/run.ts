import { parse } from './cli.ts';
import { completeWords } from './complete.ts';
import { reportError } from './report-error.ts';
import { renderer } from './output.ts';
import { Session, type Streams } from './session.ts';

/** Runs one command line. @returns the exit code; all output goes to the streams. */
export async function run(argv: readonly string[], streams: Streams, signal: AbortSignal, SessionOf = Session): Promise<number> {
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
    const { command, args } = parsed;
    // Before anything is done of which the answer could not be shown.
    const render = renderer(command.output === true ? args.string('output') : undefined, args.bool('no-headers'));
    session = new SessionOf(streams, signal, args);
    const result = await command.run(session, args);
    streams.stdout.write(render(result));
    for (const note of result.notes ?? []) session.note(note);
    return result.exitCode ?? 0;
  } catch (error) {
    return reportError(error, streams, { verbosity: Math.max(verbosity, Number(session?.args.string('verbosity') ?? 0)), session });
  } finally {
    await session?.close();
  }
}
