import { DmaasError } from '@dmaas/core';

export interface GivenHook {
  /** `statefulset/db`. */
  readonly target: string;
  readonly container?: string;
  readonly command: readonly string[];
}

/** `KIND/NAME[:CONTAINER]=COMMAND`; the command is for a shell, or a JSON list of words for containers without one. */
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
    command: command.startsWith('[') ? words(flag, command) : ['sh', '-c', command],
  };
}

function words(flag: string, text: string): readonly string[] {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    list = undefined;
  }
  if (Array.isArray(list) && list.length > 0 && list.every((word) => typeof word === 'string')) return list;
  throw new DmaasError('USAGE', `--${flag}: ${text} is no JSON list of words`);
}
