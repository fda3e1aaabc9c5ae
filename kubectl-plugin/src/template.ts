import { JSONPath } from 'jsonpath-plus';
import { DmaasError } from '@dmaas/core';

/** What a piece of a template makes of the data. */
type Piece = (data: unknown) => string;

/**
 * Reads one of kubectl's templates: text with `{.path}` expressions, of which several results are joined by spaces, quoted text, and
 * `{range .path}…{end}` for each result. Throws USAGE for what is none.
 */
export function parseTemplate(template: string): Piece {
  const source = template.includes('{') ? template : `{${template}}`;
  const outer: Piece[] = [];
  const ranges: { readonly path: string; readonly pieces: Piece[] }[] = [];
  for (const token of source.split(/(\{[^{}]*\})/)) {
    const pieces = ranges.at(-1)?.pieces ?? outer;
    const text = /^\{(.*)\}$/s.exec(token)?.[1]?.trim();
    const quoted = /^(["'])(.*)\1$/s.exec(text ?? '')?.[2];
    if (text === undefined && /[{}]/.test(token)) throw unreadable(`"${token}" has a brace without the other`);
    else if (text === undefined) pieces.push(() => token);
    else if (quoted !== undefined) pieces.push(() => quoted.replaceAll('\\n', '\n').replaceAll('\\t', '\t'));
    else if (/^range\s/.test(text)) ranges.push({ path: pathOf(text.slice('range'.length)), pieces: [] });
    else if (text === 'end') {
      const range = ranges.pop();
      if (range === undefined) throw unreadable('{end} ends no {range}');
      const each = join(range.pieces);
      (ranges.at(-1)?.pieces ?? outer).push((data) => select(range.path, data).map(each).join(''));
    } else {
      const path = pathOf(text);
      pieces.push((data) => select(path, data).map(textOf).join(' '));
    }
  }
  if (ranges.length > 0) throw unreadable('{range} has no {end}');
  return join(outer);
}

function join(pieces: readonly Piece[]): Piece {
  return (data) => pieces.map((piece) => piece(data)).join('');
}

function pathOf(expression: string): string {
  const text = expression.trim();
  if (text === '' || /\[\s*\??\s*\(/.test(text)) throw unreadable(`{${text}} is no path; filters are not evaluated`);
  if (text === '@' || text === '.') return '$';
  return text.startsWith('$') ? text : `$${/^[.[]/.test(text) ? '' : '.'}${text.replace(/^@/, '')}`;
}

function select(path: string, data: unknown): readonly unknown[] {
  if (path === '$') return [data];
  if (typeof data !== 'object' || data === null) return [];
  // `eval: false`: expressions never run as code.
  const found: unknown = JSONPath({ path, json: data, eval: false });
  return Array.isArray(found) ? found : [found];
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function unreadable(fact: string): DmaasError {
  return new DmaasError('USAGE', `the jsonpath template cannot be read: ${fact}`, {
    hint: 'for example -o jsonpath=\'{range .items[*]}{.id}{"\\n"}{end}\'',
  });
}
