import Table from 'cli-table3';
import { DmaasError } from '@dmaas/core';
import { stringify } from 'yaml';
import { parseTemplate } from './template.ts';

/** A column of a table. Titles have no spaces, as kubectl's. */
export interface Column<T> {
  readonly title: string;
  readonly cell: (item: T) => string;
  /** Shown with `-o wide` only. */
  readonly wide?: boolean;
}

/** What a command hands to its caller: data for stdout, in whichever form `-o` asks for. */
export interface Result {
  /** The table, for `-o` absent or `wide`. Built by `table`. */
  readonly text?: (options: { readonly wide: boolean; readonly noHeaders: boolean }) => string;
  /** For `-o json`, `yaml` and `jsonpath`. */
  readonly data?: unknown;
  /** For `-o name`: lines of `type/name`. */
  readonly names?: readonly string[];
  /** For people, on stderr after the data: hints, what to do next. */
  readonly notes?: readonly string[];
  readonly exitCode?: number;
}

export function table<T>(items: readonly T[], columns: readonly Column<T>[]): NonNullable<Result['text']> {
  return ({ wide, noHeaders }) => {
    const shown = columns.filter((c) => wide || c.wide !== true);
    const none = {
      top: '',
      'top-mid': '',
      'top-left': '',
      'top-right': '',
      bottom: '',
      'bottom-mid': '',
      'bottom-left': '',
      'bottom-right': '',
    };
    const t = new Table({
      head: noHeaders ? [] : shown.map((c) => c.title),
      chars: { ...none, left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: '   ' },
      style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    });
    for (const item of items) t.push(shown.map((c) => c.cell(item)));
    return trimLines(t.toString());
  };
}

/** `Key:   value` lines, aligned; a nested list is shown as an indented table below its key. */
export function details(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([key]) => key.length)) + 2;
  return rows
    .map(([key, value]) => {
      const lines = value.split('\n');
      return lines.length === 1 ? `${`${key}:`.padEnd(width + 1)}${value}` : `${key}:\n${lines.map((l) => `  ${l}`).join('\n')}`;
    })
    .join('\n');
}

function trimLines(text: string): string {
  return text
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

const OUTPUT_FORMATS = ['json', 'yaml', 'name', 'wide', 'jsonpath=TEMPLATE'] as const;

/** How a result is written in the form that `-o` names; '' when there is nothing to print. Throws USAGE when there is no such form. */
export function renderer(output: string | undefined, noHeaders: boolean): (result: Result) => string {
  if (output === undefined || output === 'wide') return ({ text }) => line(text?.({ wide: output === 'wide', noHeaders }) ?? '');
  if (output === 'json') return ({ data }) => line(JSON.stringify(data ?? null, null, 2));
  if (output === 'yaml') return ({ data }) => stringify(data ?? null, { version: '1.2', lineWidth: 0 });
  if (output === 'name') return ({ names = [] }) => names.map((n) => `${n}\n`).join('');
  if (output.startsWith('jsonpath=')) {
    const template = parseTemplate(output.slice('jsonpath='.length));
    return ({ data }) => line(template(data));
  }
  throw new DmaasError('USAGE', `there is no output format "${output}"`, { hint: `use -o with one of ${OUTPUT_FORMATS.join(', ')}` });
}

function line(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}
