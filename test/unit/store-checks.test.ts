import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import { runStoreChecks, STORE_CHECKS } from '../../core/src/store/checks.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { CallOptions, ObjectInfo, ObjectStore } from '../../core/src/store/object-store.ts';
import { FaultyStore } from '../support/faulty-store.ts';

type PutOptions = CallOptions & { readonly ifAbsent?: boolean };
type GetOptions = CallOptions & { readonly range?: { readonly offset: number; readonly length: number } };

async function keysOf(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const object of store.list('')) keys.push(object.key);
  return keys;
}

/** Which checks fail on a store, by their ids. */
async function failures(store: ObjectStore): Promise<string[]> {
  const results = await runStoreChecks(store, { prefix: 'check/' });
  return results
    .filter((result) => !result.ok)
    .map((result) => STORE_CHECKS.find((check) => check.title === result.name)?.id ?? result.name);
}

/** A store that breaks its promises in one way. */
const BROKEN: Readonly<Record<string, { readonly make: () => ObjectStore; readonly found: readonly string[] }>> = {
  'ignores conditions': {
    make: () =>
      new (class extends MemoryStore {
        override put(key: string, body: Uint8Array, opts: PutOptions = {}) {
          return super.put(key, body, { ...opts, ifAbsent: false });
        }
      })(),
    found: ['create', 'race'],
  },
  'checks and writes in two steps': {
    make: () =>
      new (class extends MemoryStore {
        override async put(key: string, body: Uint8Array, opts: PutOptions = {}) {
          if (opts.ifAbsent === true && (await this.stat(key)) !== undefined) throw new DmaasError('STORE_EXISTS', 'exists');
          await super.put(key, body);
        }
      })(),
    found: ['race'],
  },
  'cuts ranges at the end': {
    make: () =>
      new (class extends MemoryStore {
        override async get(key: string, opts: GetOptions = {}) {
          const body = await super.get(key);
          return opts.range === undefined ? body : body?.slice(opts.range.offset, opts.range.offset + opts.range.length);
        }
      })(),
    found: ['range', 'empty'],
  },
  'lists by folder': {
    make: () =>
      new (class extends MemoryStore {
        override async *list(prefix: string): AsyncIterable<ObjectInfo> {
          const all: ObjectInfo[] = [];
          for await (const object of super.list(prefix)) all.push(object);
          yield* all.sort((a, b) => (a.key.replaceAll('/', '\0') < b.key.replaceAll('/', '\0') ? -1 : 1));
        }
      })(),
    found: ['names', 'list'],
  },
  'lists only the first ten': {
    make: () =>
      new (class extends MemoryStore {
        override async *list(prefix: string): AsyncIterable<ObjectInfo> {
          let n = 0;
          for await (const object of super.list(prefix)) if (n++ < 10) yield object;
        }
      })(),
    found: ['names', 'list'],
  },
  'does not overwrite': {
    make: () =>
      new (class extends MemoryStore {
        override async put(key: string, body: Uint8Array, opts: PutOptions = {}) {
          if (opts.ifAbsent === true || (await this.stat(key)) === undefined) await super.put(key, body, opts);
        }
      })(),
    found: ['overwrite'],
  },
  'keeps what is deleted': {
    make: () =>
      new (class extends MemoryStore {
        override delete(): Promise<void> {
          return Promise.resolve();
        }
      })(),
    found: ['create', 'delete'],
  },
  'may not delete': {
    make: () => new FaultyStore(new MemoryStore(), [{ verb: 'delete', fault: { kind: 'error', code: 'STORE_ACCESS' } }]),
    found: ['create', 'delete', 'nothing is left behind'],
  },
  'damages what is larger than a megabyte': {
    make: () =>
      new FaultyStore(new MemoryStore(), [
        { verb: 'get', fault: { kind: 'damage', change: (body) => (body.length > 1_000_000 ? body.fill(0, 9, 10) : body) } },
      ]),
    found: ['large'],
  },
  'has a clock of its own': { make: () => new MemoryStore({ now: () => new Date(Date.now() - 240_000) }), found: ['clock'] },
  'is silent': {
    make: () => new FaultyStore(new MemoryStore(), [{ fault: { kind: 'error' } }]),
    found: STORE_CHECKS.map((check) => check.id),
  },
};

describe('the checks of a store', () => {
  for (const [name, { make, found }] of Object.entries(BROKEN)) {
    it(`B7, B8: find a store that ${name}`, async () => {
      assert.deepEqual(await failures(make()), found);
    });
  }

  it('pass on a store that keeps its promises, and leave nothing behind', async () => {
    const store = new MemoryStore();
    await store.put('mine', new Uint8Array(1));
    const results = await runStoreChecks(store, { prefix: 'check/' });
    assert.deepEqual(
      results.map((result) => result.ok),
      STORE_CHECKS.map(() => true),
    );
    assert.deepEqual(await keysOf(store), ['mine']);
  });

  it('are given up when the store falls silent, and say which were not tried', async () => {
    const store = new FaultyStore(new MemoryStore(), [{ key: 'check/range/', fault: { kind: 'error' } }]);
    const results = await runStoreChecks(store, { prefix: 'check/' });
    const range = STORE_CHECKS.findIndex((check) => check.id === 'range');
    assert.deepEqual(
      results.map((result) => result.ok),
      STORE_CHECKS.map((_, i) => i < range),
    );
    assert.equal(results[range]?.detail, 'injected: put check/range/object failed');
    assert.ok(results.slice(range + 1).every((result) => result.detail === 'not tried'));
    assert.deepEqual(await keysOf(store), []);
  });

  it('clean up when cancelled', async () => {
    const cancel = new AbortController();
    const store = new FaultyStore(new MemoryStore(), [
      { verb: 'put', key: 'check/large/', fault: { kind: 'damage', change: (body) => body } },
    ]);
    const inner = store.put.bind(store);
    store.put = (key, body, opts) => {
      if (key.startsWith('check/large/')) cancel.abort();
      return inner(key, body, opts);
    };
    await assert.rejects(runStoreChecks(store, { prefix: 'check/', signal: cancel.signal }), (e) => DmaasError.is(e, 'CANCELLED'));
    assert.deepEqual(await keysOf(store), []);
  });
});
