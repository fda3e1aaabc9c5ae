import {
  Listr,
  type ListrDefaultRendererLogLevels,
  type ListrTaskWrapper,
  type DefaultRenderer,
  type SimpleRenderer,
  ListrLogger,
  ProcessOutput,
} from 'listr2';
import { PHASES, type Phase } from '@dmaas/core';
import { findingLines } from './findings.ts';
import { stepText, volumeText } from './progress-text.ts';
import type { Progress, ProgressOptions } from './progress.ts';

type Wrapper = ListrTaskWrapper<unknown, typeof DefaultRenderer, typeof SimpleRenderer>;

interface Shown {
  readonly done: () => void;
  readonly fail: (reason: Error) => void;
  readonly list: Promise<unknown>;
  task?: Wrapper;
  readonly lines: Map<string, string>;
}

/** Phases as tasks with a spinner; below each its steps and a bar for each volume. */
export function terminalProgress({ stderr }: Pick<ProgressOptions, 'stderr'>): Progress {
  const output = new ProcessOutput(stderr, stderr);
  let current: Shown | undefined;
  let chain: Promise<unknown> = Promise.resolve();

  const start = (phase: Phase) => {
    let done: () => void = () => undefined;
    let fail: (reason: Error) => void = () => undefined;
    const ended = new Promise<void>((resolve, reject) => {
      done = resolve;
      fail = reject;
    });
    ended.catch(() => undefined);
    const shown: Shown = { done, fail, lines: new Map(), list: Promise.resolve() };
    const list = new Listr(
      [
        {
          title: PHASES[phase],
          task: (_, task) => {
            shown.task = task;
            return ended;
          },
          rendererOptions: { outputBar: Infinity, persistentOutput: true },
        },
      ],
      {
        rendererOptions: { logger: new ListrLogger<ListrDefaultRendererLogLevels>({ processOutput: output }), showErrorMessage: false },
        exitOnError: false,
      },
    );
    chain = chain.then(() => list.run()).catch(() => undefined);
    current = shown;
  };
  const draw = () => {
    if (current?.task) current.task.output = [...current.lines.values()].join('\n');
  };
  return {
    emit: (event) => {
      if (event.type === 'phase') {
        if (event.state === 'start') start(event.phase);
        else if (event.state === 'done') current?.done();
        else current?.fail(new Error('failed'));
      } else if (event.type === 'step') {
        current?.lines.set(`step ${event.title}`, stepText(event));
        draw();
      } else if (event.type === 'bytes') {
        current?.lines.set(`volume ${event.volume}`, volumeText(event));
        draw();
      } else {
        current?.lines.set(`finding ${event.finding.message}`, findingLines(event.finding).join('\n'));
        draw();
      }
    },
    finish: async (error) => {
      if (error === undefined) current?.done();
      else current?.fail(new Error('failed'));
      await chain;
    },
  };
}
