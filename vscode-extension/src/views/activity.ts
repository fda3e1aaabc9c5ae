import { loadCore } from '../core.ts';
import type { Operation, Operations } from '../operations.ts';
import { progressText } from '../timeline/state.ts';
import type { Shown, TreeNode } from './node.ts';

/** Running operations and those that ended, the newest first. */
export class Activity {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  async roots(): Promise<readonly TreeNode[]> {
    const core = await loadCore();
    return this.#operations.list.map((operation) => ({
      id: operation.id,
      shown: describeOperation(
        operation,
        (bytes) => core.formatBytes(bytes),
        (iso) => core.formatAge(iso, new Date()),
      ),
      subject: { kind: 'operation', id: operation.id },
    }));
  }
}

const LOOKS = {
  running: ['loading~spin', undefined],
  done: ['pass', 'testing.iconPassed'],
  gaps: ['warning', 'list.warningForeground'],
  failed: ['error', 'list.errorForeground'],
  stopped: ['debug-pause', undefined],
  interrupted: ['debug-pause', undefined],
} as const;

function describeOperation({ state, isUndoable, canResume }: Operation, bytes: (n: number) => string, age: (iso: string) => string): Shown {
  const [icon, color] = LOOKS[state.outcome];
  const ended = state.endedAt === undefined ? '' : `, ${age(state.endedAt)} ago`;
  const description = state.outcome === 'running' ? progressText(state, bytes) : `${OUTCOMES[state.outcome]}${ended}`;
  return {
    label: state.title,
    description,
    icon,
    ...(color === undefined ? {} : { color }),
    tooltip: [`**${state.title}**`, state.subtitle, ...(state.error === undefined ? [] : [`⚠ ${state.error.message}`])].join('\n\n'),
    context: ['operation', state.outcome, ...(canResume ? ['resumable'] : []), ...(isUndoable ? ['undoable'] : [])].join(' '),
    command: 'dmaas.showTimeline',
    spoken: `${state.title}, ${description}`,
  };
}

const OUTCOMES = { done: 'done', gaps: 'done, with warnings', failed: 'failed', stopped: 'stopped', interrupted: 'interrupted' } as const;
