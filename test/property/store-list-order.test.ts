import assert from 'node:assert/strict';
import fc from 'fast-check';
import { DmaasError } from '../../core/src/errors.ts';
import { listInOrder } from '../../core/src/store/list-order.ts';
import type { FetchPage } from '../../core/src/store/list-order.ts';
import type { ObjectInfo } from '../../core/src/store/object-store.ts';

/** The order of S3, and the one of stores that walk folders: by names, whatever they are followed by. */
const ORDERS = {
  bytes: (key: string) => key,
  folders: (key: string) => key.replaceAll('/', '\0'),
};

/** A store with these keys that lists in that order, `size` entries a page; the longest page and the requests are counted. */
function storeOf(keys: readonly string[], order: (key: string) => string, size: number) {
  const stats = { requests: 0 };
  const fetch: FetchPage = ({ prefix, byFolder, token }) => {
    stats.requests++;
    const entries = new Set(keys.filter((key) => key.startsWith(prefix)).map((key) => (byFolder ? fold(key, prefix) : key)));
    const sorted = [...entries].sort((a, b) => (order(a) < order(b) ? -1 : 1));
    const start = token === undefined ? 0 : Number(token);
    const page = sorted.slice(start, start + size);
    return Promise.resolve({
      objects: page.filter((entry) => !entry.endsWith('/')).map(info),
      folders: page.filter((entry) => entry.endsWith('/')),
      next: start + size < sorted.length ? String(start + size) : undefined,
    });
  };
  return { fetch, stats };
}

function fold(key: string, prefix: string): string {
  const slash = key.indexOf('/', prefix.length);
  return slash === -1 ? key : key.slice(0, slash + 1);
}

function info(key: string): ObjectInfo {
  return { key, size: 1, modifiedAt: new Date(0) };
}

async function keysOf(objects: AsyncIterable<ObjectInfo>): Promise<string[]> {
  const keys: string[] = [];
  for await (const object of objects) keys.push(object.key);
  return keys;
}

/** Few letters, so that names often begin with one another; '!', '-' and '.' sort before '/', the others after. */
const segment = fc.string({ unit: fc.constantFrom('a', 'b', '!', '-', '.', '0', '_'), minLength: 1, maxLength: 4 });
const keySet = fc
  .uniqueArray(
    fc.array(segment, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
    { maxLength: 60 },
  )
  .map((keys) => keys.filter((key) => !keys.some((other) => other.startsWith(`${key}/`)))); // no key is another's folder

describe('listInOrder', () => {
  for (const [name, order] of Object.entries(ORDERS)) {
    it(`gives the byte order on a store that lists in the order of ${name}`, () =>
      fc.assert(
        fc.asyncProperty(
          keySet,
          fc.integer({ min: 1, max: 7 }),
          fc.constantFrom('', 'a', 'a/', 'a-', 'a/b'),
          async (keys, size, prefix) => {
            const { fetch } = storeOf(keys, order, size);
            const want = keys.filter((key) => key.startsWith(prefix)).sort();
            assert.deepEqual(await keysOf(listInOrder(fetch, prefix, 's3://b')), want);
          },
        ),
        { numRuns: 1000 },
      ));
  }

  it('asks once for what fits a page', async () => {
    const { fetch, stats } = storeOf(['a/1', 'a!', 'b/2'], ORDERS.folders, 3);
    assert.deepEqual(await keysOf(listInOrder(fetch, '', 's3://b')), ['a!', 'a/1', 'b/2']);
    assert.equal(stats.requests, 1);
  });

  it('refuses a store that lists in no order', async () => {
    const keys = Array.from({ length: 10 }, (_, i) => `k${(i * 7) % 10}`);
    const { fetch } = storeOf(keys, (key) => String(keys.indexOf(key)), 3);
    await assert.rejects(
      keysOf(listInOrder(fetch, '', 's3://b')),
      (e) => DmaasError.is(e, 'STORE_UNAVAILABLE') && /^s3:\/\/b lists "k\d" after "k\d"$/.test(e.message),
    );
  });
});
