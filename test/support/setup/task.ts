import { SetupError } from './command.ts';

/**
 * Runs what an npm script does with its arguments, and ends the process with the exit code that it returns. What is wrong with
 * the machine is said in a sentence with the next step; everything else is a defect and shows where it comes from.
 */
export async function runTask(work: (args: readonly string[]) => Promise<number>): Promise<void> {
  try {
    process.exitCode = await work(process.argv.slice(2));
  } catch (error) {
    if (error instanceof SetupError) process.stderr.write(`error: ${error.message}\nhint: ${error.hint}\n`);
    else process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exitCode = 1;
  }
}
