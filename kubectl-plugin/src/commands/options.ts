import type { Command } from '../command.ts';
import { GLOBAL_FLAGS } from '../global-flags.ts';

export const options: Command = {
  path: ['options'],
  summary: 'Flags that every command has',
  run: () =>
    Promise.resolve({
      text: () =>
        GLOBAL_FLAGS.map((f) => {
          const names = `${f.short === undefined ? '    ' : `-${f.short}, `}--${f.name}${f.type === 'boolean' ? '' : `=${f.value ?? (f.choices ?? []).join('|')}`}`;
          return `  ${names.padEnd(40)} ${f.describe}${typeof f.default === 'string' ? ` (${f.default})` : ''}`;
        }).join('\n'),
    }),
};
