import { DmaasError } from '../errors.ts';
import type { ObjectInfo } from './object-store.ts';

/** One page of a listing, as S3 gives it. */
export interface ListPage {
  readonly objects: readonly ObjectInfo[];
  /** Beginnings of keys up to the next '/', with it; only when asked for. */
  readonly folders: readonly string[];
  /** Token of the next page, if there is one. */
  readonly next: string | undefined;
}

/** `byFolder`: keys with a '/' after the prefix are not listed but folded into `folders`. */
export type FetchPage = (query: {
  readonly prefix: string;
  readonly byFolder: boolean;
  readonly token: string | undefined;
}) => Promise<ListPage>;

/**
 * Every object under `prefix` in the byte order of the keys, whether the store lists in that order or, as SeaweedFS does, walks
 * folders by name, so that `a/1` comes before `a!`. What fits one page is sorted here. Otherwise one level is listed at a time, where the
 * two orders differ only in this: a folder may come too early, before siblings whose names go on with a character below '/'. It is held
 * back until a later name follows. Memory: one page for each level.
 */
export async function* listInOrder(fetch: FetchPage, prefix: string, location: string): AsyncGenerator<ObjectInfo> {
  let last = '';
  for await (const object of walk(fetch, prefix)) {
    if (object.key <= last) {
      throw new DmaasError('STORE_UNAVAILABLE', `${location} lists "${object.key}" after "${last}"`, {
        hint: 'the store does not list its objects in a usable order; "kubectl dmaas location check" tells more',
      });
    }
    last = object.key;
    yield object;
  }
}

async function* walk(fetch: FetchPage, prefix: string): AsyncGenerator<ObjectInfo> {
  const first = await fetch({ prefix, byFolder: false, token: undefined });
  if (first.next === undefined) {
    yield* first.objects.toSorted(byKey);
    return;
  }
  /** Each sorts before the one below it. */
  const held: string[] = [];
  for await (const entry of level(fetch, prefix)) {
    const key = keyOf(entry);
    for (let folder = held.at(-1); folder !== undefined && folder < key; folder = held.at(-1)) {
      held.pop();
      yield* walk(fetch, folder);
    }
    if (typeof entry !== 'string') yield entry;
    else if (held.at(-1) !== entry) held.push(entry); // some stores repeat a folder at the top of the next page
  }
  for (const folder of held.reverse()) yield* walk(fetch, folder);
}

async function* level(fetch: FetchPage, prefix: string): AsyncGenerator<ObjectInfo | string> {
  let token: string | undefined;
  do {
    const page = await fetch({ prefix, byFolder: true, token });
    // By name, the earlier of the two orders for a folder: within a page, too, a folder is never released too soon.
    yield* [...page.objects, ...page.folders].sort((a, b) => compare(nameOf(a), nameOf(b)));
    token = page.next;
  } while (token !== undefined);
}

function keyOf(entry: ObjectInfo | string): string {
  return typeof entry === 'string' ? entry : entry.key;
}

function nameOf(entry: ObjectInfo | string): string {
  return keyOf(entry).replace(/\/$/, '');
}

function byKey(a: ObjectInfo, b: ObjectInfo): number {
  return compare(a.key, b.key);
}

/** Keys are ASCII, so comparing strings compares bytes. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
