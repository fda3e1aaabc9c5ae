import { isRecord, sameJson } from './rewrite.ts';

/** One operation of a JSON patch (RFC 6902). */
export interface JsonOperation {
  readonly op: 'add' | 'remove' | 'replace' | 'move' | 'copy' | 'test';
  /** A JSON pointer, `/spec/template/metadata/labels/a~1b`. */
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

/** A pointer that leads nowhere, or a test that fails. Says which in words. */
export class PatchError extends Error {}

/** Applies the operations in order, all or none. Throws PatchError. */
export function applyJsonPatch<T>(document: T, operations: readonly JsonOperation[]): T {
  return operations.reduce<unknown>((value, operation) => applyOperation(value, operation), document) as T;
}

function applyOperation(document: unknown, { op, path, from = '', value }: JsonOperation): unknown {
  switch (op) {
    case 'test':
      if (!sameJson(valueAt(document, path), value)) throw new PatchError(`${path} is not what the patch tests for`);
      return document;
    case 'add':
      return change(document, path, 'add', value);
    case 'replace':
      valueAt(document, path);
      return change(document, path, 'replace', value);
    case 'remove':
      valueAt(document, path);
      return change(document, path, 'remove', undefined);
    case 'copy':
      return change(document, path, 'add', valueAt(document, from));
    case 'move':
      return change(change(document, from, 'remove', undefined), path, 'add', valueAt(document, from));
  }
}

function wordsOf(pointer: string): readonly string[] {
  if (pointer === '') return [];
  if (!pointer.startsWith('/')) throw new PatchError(`"${pointer}" does not begin with /`);
  return pointer
    .slice(1)
    .split('/')
    .map((word) => word.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function valueAt(document: unknown, pointer: string): unknown {
  let here = document;
  for (const word of wordsOf(pointer)) {
    const next: unknown = Array.isArray(here) ? (here as unknown[])[indexOf(word, here.length)] : isRecord(here) ? here[word] : undefined;
    if (next === undefined) throw new PatchError(`there is nothing at ${pointer}`);
    here = next;
  }
  return here;
}

function indexOf(word: string, length: number): number {
  if (word === '-') return length;
  return /^(0|[1-9]\d*)$/.test(word) ? Number(word) : -1;
}

function change(document: unknown, pointer: string, how: 'add' | 'replace' | 'remove', to: unknown): unknown {
  const step = (here: unknown, [word, ...rest]: readonly string[]): unknown => {
    if (word === undefined) return to;
    if (Array.isArray(here)) {
      const list = here as readonly unknown[];
      const i = indexOf(word, list.length);
      const limit = rest.length === 0 && how === 'add' ? list.length : list.length - 1;
      if (i < 0 || i > limit) throw new PatchError(`there is nothing at ${pointer}`);
      if (rest.length > 0) return list.with(i, step(list[i], rest));
      return how === 'replace' ? list.with(i, to) : list.toSpliced(i, how === 'remove' ? 1 : 0, ...(how === 'remove' ? [] : [to]));
    }
    if (!isRecord(here) || (rest.length > 0 && here[word] === undefined)) throw new PatchError(`there is nothing at ${pointer}`);
    if (rest.length > 0) return { ...here, [word]: step(here[word], rest) };
    if (how !== 'remove') return { ...here, [word]: to };
    return Object.fromEntries(Object.entries(here).filter(([key]) => key !== word));
  };
  return step(document, wordsOf(pointer));
}
