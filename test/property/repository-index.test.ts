/** The index is a map from ids to places, whatever writers flush, merge, refresh and crash at the same time. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import type { BlobIndex } from '../../core/src/repository/index/blob-index.ts';
import { IndexLoader } from '../../core/src/repository/index/index-loader.ts';
import { mergeIndex, planMerge } from '../../core/src/repository/index/index-merge.ts';
import { decodeSegment } from '../../core/src/repository/format/index-segment.ts';
import { Journal } from '../../core/src/repository/index/journal.ts';
import { SegmentCache } from '../../core/src/repository/index/segment-cache.ts';
import { Session } from '../../core/src/repository/protocol/sessions.ts';
import { addToFilter, mayHave, newFilter } from '../../core/src/repository/format/segment-filter.ts';
import { ROW_BYTES, sortRows, writeRow, type Table } from '../../core/src/repository/format/table.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { FaultyStore, StoreCrash } from '../support/faulty-store.ts';
import { keysUnder, seededRandom, testKeys } from '../support/repository.ts';

const keys = testKeys();
const random = seededRandom(31);
/** Few, so that several tables have the same; some begin with the same six bytes. */
const IDS = Array.from({ length: 1500 }, (_, i) => {
  const id = Buffer.from(random(24));
  if (i % 3 === 0) id.fill(7, 0, 6);
  return id.toString('hex') as BlobId;
});
const STRANGERS = Array.from({ length: 200 }, () => Buffer.from(random(24)).toString('hex') as BlobId);
/** No id is of both kinds, since each has a key of its own for them. */
const IDS_OF = { data: IDS.slice(0, 1200), node: IDS.slice(1200) } as const;
const PROCESSES = 3;

/** Places of ids, as text. */
type Model = Map<BlobId, Set<string>>;

function addAll(target: Model, source: Model): void {
  for (const [id, places] of source) target.set(id, new Set([...(target.get(id) ?? []), ...places]));
}

function placesOf(index: BlobIndex, id: BlobId): Set<string> {
  return new Set(
    [...index.copies(id)].map((entry) => `${index.pack(entry).id}:${index.offset(entry)}:${index.inner(entry, id).innerOffset}`),
  );
}

class Process {
  readonly store: FaultyStore;
  readonly loader: IndexLoader;
  readonly #journal: Journal;
  #session: Session | undefined;
  /** Must be found: what was durable at the last refresh, and what was added here. */
  readonly expected: Model = new Map();
  /** Added here and not acknowledged in a segment. */
  pending: Model = new Map();

  constructor(store: MemoryStore, now: () => Date) {
    this.store = new FaultyStore(store);
    this.loader = new IndexLoader(this.store, keys, new SegmentCache('x', { random, now }), random);
    this.#journal = new Journal(this.store, keys, this.loader, { random, now, session: () => this.#begin() });
  }

  add(first: number, count: number, kind: 'data' | 'node'): Model {
    const ids = IDS_OF[kind];
    const rows = Buffer.alloc(count * ROW_BYTES);
    const pack = { id: Buffer.from(random(16)).toString('hex'), kind, size: 5000 };
    const added: Model = new Map();
    for (let n = 0; n < count; n++) {
      const id = ids[(first + n * 7) % ids.length]!;
      writeRow(rows, n, { id, pack: 0, offset: 16 + n, length: 100, innerOffset: n % 5, innerLength: 9 });
      added.set(id, (added.get(id) ?? new Set()).add(`${pack.id}:${16 + n}:${n % 5}`));
    }
    const table: Table = { packs: [pack], rows: sortRows(rows) };
    this.loader.index.addTable(table, 'test');
    this.#journal.add(table);
    addAll(this.pending, added);
    addAll(this.expected, added);
    return added;
  }

  flush(): Promise<void> {
    return this.#journal.flush();
  }

  async merge(): Promise<void> {
    const goneOf = () => Promise.resolve(() => Promise.resolve(new Set<string>()));
    await mergeIndex({ store: this.store, keys, loader: this.loader, random, session: await this.#begin(), goneOf }, {});
  }

  async #begin(): Promise<Session> {
    return (this.#session ??= await Session.begin('write', { store: this.store, keys, random }));
  }
}

const step = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      process: fc.nat(2),
      first: fc.nat(1499),
      count: fc.integer({ min: 1, max: 700 }),
      kind: fc.constantFrom('data' as const, 'data' as const, 'node' as const),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('refresh' as const), process: fc.nat(2) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('merge' as const), process: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('merge-at-once' as const), process: fc.nat(2) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('crash' as const),
      process: fc.nat(2),
      at: fc.integer({ min: 1, max: 25 }),
      when: fc.constantFrom('before' as const, 'after' as const),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('look' as const), process: fc.nat(2) }) },
);

/** Whether every place of the one is among those of the other. */
function isWithin(some: ReadonlySet<string> = new Set(), all: ReadonlySet<string> = new Set()): boolean {
  return [...some].every((place) => all.has(place));
}

async function look({ loader, expected }: Process, ever: Model): Promise<void> {
  const known = await loader.index.known([...IDS, ...STRANGERS]);
  const found = await loader.index.locate(IDS);
  for (const [i, id] of IDS.entries()) {
    const places = placesOf(found, id);
    assert.equal(known[i], places.size > 0);
    assert.ok(isWithin(expected.get(id), places), 'all that must be found');
    assert.ok(isWithin(places, ever.get(id)), 'and nothing that never was');
  }
  assert.ok(!known.slice(IDS.length).includes(true));
}

describe('the index in segments', function () {
  this.timeout(300_000);

  it('A4, H1: finds what a map finds, under writers, mergers and crashes', async () => {
    let merges = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 50, size: 'max' }), async (steps) => {
        let time = Date.parse('2026-11-22T12:00:00Z');
        const now = () => new Date(time);
        const inner = new MemoryStore({ now });
        const processes = Array.from({ length: PROCESSES }, () => new Process(inner, now));
        const durable: Model = new Map();
        const ever: Model = new Map();
        /** Runs what may crash; a process that did is another one afterwards. */
        const run = async (n: number, work: (process: Process) => Promise<void>): Promise<boolean> => {
          try {
            await work(processes[n]!);
            return true;
          } catch (e) {
            assert.ok(e instanceof StoreCrash, String(e));
            processes[n] = new Process(inner, now);
            return false;
          }
        };
        for (const s of steps) {
          time += 4 * 60_000;
          const process = processes[s.process]!;
          if (s.do === 'crash') process.store.crashAt(s.at, s.when);
          if (s.do === 'write') {
            addAll(ever, process.add(s.first, s.count, s.kind));
            if (await run(s.process, (p) => p.flush())) addAll(durable, process.pending);
            process.pending = new Map();
          }
          if (s.do === 'refresh' && (await run(s.process, (p) => p.loader.refresh()))) addAll(processes[s.process]!.expected, durable);
          if (s.do === 'merge') await run(s.process, (p) => p.merge());
          if (s.do === 'merge-at-once') await Promise.all([0, 1, 2].map((n) => run(n, (p) => p.merge())));
          if (s.do === 'look') await run(s.process, (p) => look(p, ever));
        }
        const last = new Process(inner, now);
        await last.loader.refresh();
        addAll(last.expected, durable);
        await look(last, ever);
        const merged = (await keysUnder(inner, 'index/')).filter((key) => !key.startsWith('index/0/'));
        merges += merged.length;
        for (const key of merged) decodeSegment(keys, key, (await inner.get(key))!);
      }),
      { numRuns: 40 },
    );
    assert.ok(merges > 30, `${merges} merges`);
  });

  it('is merged into few, each entry a few times', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 65_536 }), { minLength: 50, maxLength: 400 }), (sizes) => {
        const segments = new Set<{ readonly entries: number }>();
        let written = 0;
        let rewritten = 0;
        for (const entries of sizes) {
          segments.add({ entries });
          written += entries;
          for (let merge = planMerge(segments); merge.length > 0; merge = planMerge(segments)) {
            assert.ok(merge.length >= 2 && merge.length <= 32);
            for (const input of merge) segments.delete(input);
            const sum = merge.reduce((total, input) => total + input.entries, 0);
            assert.ok(sum <= 1_400_000);
            segments.add({ entries: sum });
            rewritten += sum;
          }
          assert.ok(segments.size <= written / 700_000 + 4);
        }
        assert.ok(rewritten < written * 25, `${rewritten / written} times`);
      }),
      { numRuns: 30 },
    );
  });

  it('has filters that hide nothing and pass one stranger in a hundred', () => {
    for (const entries of [1, 400, 410, 30_000]) {
      const ids = Buffer.from(random(entries * 24));
      const filter = newFilter(entries);
      for (let at = 0; at < ids.length; at += 24) addToFilter(filter, ids, at);
      for (let at = 0; at < ids.length; at += 24) assert.ok(mayHave(filter, ids, at));
      const others = Buffer.from(random(50_000 * 24));
      let passed = 0;
      for (let at = 0; at < others.length; at += 24) if (mayHave(filter, others, at)) passed++;
      assert.ok(passed < 50_000 * 0.015, `${passed} of 50000 pass a filter for ${entries}`);
    }
  });
});
