import { DmaasError } from '@dmaas/core';

export interface GivenHook {
  /** `statefulset/db`. */
  readonly target: string;
  readonly container?: string;
  readonly command: readonly string[];
}

/** `KIND/NAME[:CONTAINER]=COMMAND`; the command is for a shell. */
export function parseHook(flag: string, text: string): GivenHook {
  const [, target, container, command] = /^([A-Za-z.]+\/[a-z0-9.-]+)(?::([a-z0-9-]+))?=(.+)$/s.exec(text) ?? [];
  if (target === undefined || command === undefined)
    throw new DmaasError('USAGE', `--${flag} ${text} is not of the form KIND/NAME[:CONTAINER]=COMMAND`, {
      hint: `--${flag} statefulset/db=sync`,
    });
  const slash = target.indexOf('/');
  return {
    target: target.slice(0, slash).toLowerCase() + target.slice(slash),
    ...(container === undefined ? {} : { container }),
    command: ['sh', '-c', command],
  };
}
