/** The process: streams, signals and the exit code. The only place that ends it. */
import process from 'node:process';
import { setColors } from './colors.ts';
import { run } from './run.ts';

const controller = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    // The first asks the operation to stop in good order; the second leaves at once.
    if (controller.signal.aborted) process.exit(130);
    process.stderr.write('\nstopping; press Ctrl-C again to leave at once\n');
    controller.abort(name);
  });
}
// `kubectl dmaas backup list | head` is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

setColors(process.argv.slice(2), process.env);
const streams = { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, env: process.env };
const exitCode = await run(process.argv.slice(2), streams, controller.signal);
// A keep-alive connection must not hold the process, but what was written to a pipe must be out first.
process.stdout.write('', () => process.exit(exitCode));
