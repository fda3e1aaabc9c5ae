import { DmaasError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import type { ObjectInfo, ObjectStore } from './object-store.ts';

export interface CheckContext {
  readonly store: ObjectStore;
  /** Ends with '/'. The check writes nothing outside of it. */
  readonly prefix: string;
  readonly now: () => Date;
  /** Objects written to check listings; above 1000 the paging of S3 and GCS is met too. */
  readonly listObjects: number;
  readonly signal: AbortSignal | undefined;
}

/** One promise of the ObjectStore contract. */
export interface StoreCheck {
  /** Also the name of the check's folder. */
  readonly id: string;
  /** For people: what is verified. */
  readonly title: string;
  /** Throws where the promise is not kept; returns a fact worth showing, if any. */
  readonly run: (c: CheckContext) => Promise<string | undefined>;
}

export interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  /** What was measured, or why it failed. */
  readonly detail: string;
  readonly ms: number;
}

export interface CheckOptions {
  /** Where to work, e.g. `check-k7m2q8xa/`; removed afterwards. */
  readonly prefix: string;
  readonly now?: () => Date;
  /** Default 20: enough to show an order, cheap in a user's bucket. */
  readonly listObjects?: number;
  readonly signal?: AbortSignal;
}

/** Creates that race for one key. */
const RACERS = 10;
/** Larger than one network buffer, small enough for any link. */
const LARGE_BYTES = 5 * 1024 * 1024;
/** S3 refuses signatures that are 15 minutes off; backup times should be much closer. */
const MAX_CLOCK_OFFSET_MS = 3 * 60 * 1000;
/** Writes and deletes of the checks themselves under way at once. */
const CONCURRENCY = 8;

/** What every object store must do. The tests run this list on each kind of store, `location check` on a user's bucket. */
export const STORE_CHECKS: readonly StoreCheck[] = [
  { id: 'write', title: 'what is written can be read at once', run: checkReadAfterWrite },
  { id: 'create', title: 'an object is created only if it is new', run: checkConditionalCreate },
  { id: 'race', title: `of ${String(RACERS)} concurrent creates exactly one succeeds`, run: checkRace },
  { id: 'overwrite', title: 'an object can be replaced', run: checkOverwrite },
  { id: 'range', title: 'ranges are exact', run: checkRanges },
  { id: 'absent', title: 'an absent object is reported as absent', run: checkAbsent },
  { id: 'delete', title: 'objects can be deleted', run: checkDelete },
  { id: 'empty', title: 'an object can be empty', run: checkEmpty },
  { id: 'large', title: 'a large object arrives unchanged', run: checkLarge },
  { id: 'names', title: 'names of every permitted form are kept', run: checkNames },
  { id: 'list', title: 'listings are complete and in order', run: checkList },
  { id: 'clock', title: 'the clocks agree', run: checkClock },
];

/**
 * Runs every check and removes what they wrote, even when cancelled. A failing check is a result; after the very first, or when
 * the store stops answering, the rest cannot tell more and is not tried. Throws only CANCELLED.
 */
export async function runStoreChecks(store: ObjectStore, opts: CheckOptions): Promise<CheckResult[]> {
  const now = opts.now ?? (() => new Date());
  const results: CheckResult[] = [];
  let usable = true;
  try {
    for (const check of STORE_CHECKS) {
      const start = now().getTime();
      const context = { store, prefix: `${opts.prefix}${check.id}/`, now, listObjects: opts.listObjects ?? 20, signal: opts.signal };
      const outcome: CheckOutcome = usable ? await tryCheck(check, context) : { ok: false, detail: 'not tried', usable };
      usable = outcome.usable && (results.length > 0 || outcome.ok);
      results.push({ name: check.title, ok: outcome.ok, detail: outcome.detail, ms: now().getTime() - start });
    }
  } finally {
    const failure = await removeAll(store, opts.prefix);
    if (failure !== undefined && usable) {
      results.push({ name: 'nothing is left behind', ok: false, detail: `${store.location}/${opts.prefix}: ${failure.message}`, ms: 0 });
    }
  }
  return results;
}

interface CheckOutcome {
  readonly ok: boolean;
  readonly detail: string;
  /** Whether further checks can tell anything. */
  readonly usable: boolean;
}

async function tryCheck(check: StoreCheck, context: CheckContext): Promise<CheckOutcome> {
  try {
    return { ok: true, detail: (await check.run(context)) ?? '', usable: true };
  } catch (e) {
    if (e instanceof CheckFailure) return { ok: false, detail: e.message, usable: true };
    if (!DmaasError.is(e) || e.code === 'CANCELLED') throw e;
    return { ok: false, detail: e.message, usable: e.code !== 'STORE_UNAVAILABLE' };
  }
}

/** Deletes every object under `prefix`; returns why it could not. Never cancelled: it is the cleaning up. */
async function removeAll(store: ObjectStore, prefix: string): Promise<DmaasError | undefined> {
  try {
    const keys = (await collect(store.list(prefix))).map((object) => object.key);
    await eachOf(keys, (key) => store.delete(key));
    return undefined;
  } catch (e) {
    if (DmaasError.is(e)) return e;
    throw e;
  }
}

async function checkReadAfterWrite({ store, prefix, signal }: CheckContext): Promise<undefined> {
  const call = callOptions(signal);
  const key = `${prefix}object`;
  const body = pattern(1000, 1);
  await store.put(key, body, call);
  expectSame(await store.get(key, call), body, 'get');
  const info = await store.stat(key, call);
  expect(info !== undefined, 'stat does not find a new object');
  expect(info.size === body.length, `stat says ${String(info.size)} bytes where ${String(body.length)} were written`);
  expect(info.key === key, `stat names ${info.key}`);
  const listed = await collect(store.list(prefix, call));
  expect(listed.length === 1 && listed[0]?.key === key && listed[0].size === body.length, 'the listing does not show the new object');
}

async function checkConditionalCreate({ store, prefix, signal }: CheckContext): Promise<undefined> {
  const key = `${prefix}object`;
  const create = { ...callOptions(signal), ifAbsent: true };
  await store.put(key, pattern(100, 1), create);
  await expectCode('STORE_EXISTS', 'the store ignores If-None-Match: a second create', store.put(key, pattern(100, 2), create));
  await expectCode('STORE_EXISTS', 'a second create with the same bytes', store.put(key, pattern(100, 1), create));
  expectSame(await store.get(key, callOptions(signal)), pattern(100, 1), 'get after a refused create');
  await store.delete(key, callOptions(signal));
  await store.put(key, pattern(100, 3), create);
  expectSame(await store.get(key, callOptions(signal)), pattern(100, 3), 'get after delete and create');
}

async function checkRace({ store, prefix, signal }: CheckContext): Promise<undefined> {
  const key = `${prefix}object`;
  const bodies = Array.from({ length: RACERS }, (_, i) => pattern(2000, i));
  const outcomes = await Promise.allSettled(bodies.map((body) => store.put(key, body, { ...callOptions(signal), ifAbsent: true })));
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected' && !DmaasError.is(outcome.reason, 'STORE_EXISTS')) throw outcome.reason;
  }
  const winners = bodies.filter((_, i) => outcomes[i]?.status === 'fulfilled');
  expect(winners.length === 1, `${String(winners.length)} of ${String(RACERS)} concurrent creates succeeded`);
  expectSame(await store.get(key, callOptions(signal)), winners[0], 'get after the race');
}

async function checkOverwrite({ store, prefix, signal }: CheckContext): Promise<undefined> {
  const key = `${prefix}object`;
  for (const body of [pattern(500, 1), pattern(300, 2), pattern(800, 3)]) {
    await store.put(key, body, callOptions(signal));
    expectSame(await store.get(key, callOptions(signal)), body, 'get after an overwrite');
  }
}

async function checkRanges({ store, prefix, signal }: CheckContext): Promise<undefined> {
  const key = `${prefix}object`;
  const body = pattern(10_000, 1);
  await store.put(key, body, callOptions(signal));
  const range = (offset: number, length: number) => store.get(key, { ...callOptions(signal), range: { offset, length } });
  for (const [offset, length] of [
    [0, 1],
    [0, 10_000],
    [1234, 4321],
    [9999, 1],
  ] as const) {
    expectSame(await range(offset, length), body.subarray(offset, offset + length), `get of ${String(length)} bytes at ${String(offset)}`);
  }
  for (const [offset, length] of [
    [9999, 2],
    [10_000, 1],
    [0, 10_001],
    [1_000_000, 5],
  ] as const) {
    await expectCode('STORE_RANGE', `get of ${String(length)} bytes at ${String(offset)} of 10000`, range(offset, length));
  }
}

async function checkAbsent({ store, prefix, signal }: CheckContext): Promise<undefined> {
  const call = callOptions(signal);
  const key = `${prefix}nothing`;
  expect((await store.get(key, call)) === undefined, 'get of an absent object returns bytes');
  expect(
    (await store.get(key, { ...call, range: { offset: 5, length: 5 } })) === undefined,
    'a ranged get of an absent object returns bytes',
  );
  expect((await store.stat(key, call)) === undefined, 'stat of an absent object returns something');
  expect((await collect(store.list(prefix, call))).length === 0, 'the listing of an empty prefix is not empty');
}

async function checkDelete({ store, prefix, signal }: CheckContext): Promise<undefined> {
  const call = callOptions(signal);
  const [gone, kept] = [`${prefix}folder/gone`, `${prefix}folder/kept`];
  await store.put(gone, pattern(10, 1), call);
  await store.put(kept, pattern(10, 2), call);
  await store.delete(gone, call);
  expect((await store.get(gone, call)) === undefined, 'a deleted object can still be read');
  expect((await store.stat(gone, call)) === undefined, 'stat still finds a deleted object');
  const listed = await collect(store.list(prefix, call));
  expect(listed.length === 1 && listed[0]?.key === kept, 'the listing still shows a deleted object, or lost another');
  await store.delete(gone, call);
  await store.delete(`${prefix}never/was`, call);
}

async function checkEmpty({ store, prefix, signal }: CheckContext): Promise<undefined> {
  const call = callOptions(signal);
  const key = `${prefix}object`;
  await store.put(key, new Uint8Array(0), { ...call, ifAbsent: true });
  expectSame(await store.get(key, call), new Uint8Array(0), 'get of an empty object');
  expect((await store.stat(key, call))?.size === 0, 'stat of an empty object does not say 0 bytes');
  await expectCode('STORE_RANGE', 'a range of an empty object', store.get(key, { ...call, range: { offset: 0, length: 1 } }));
}

async function checkLarge({ store, prefix, signal }: CheckContext): Promise<undefined> {
  const call = callOptions(signal);
  const key = `${prefix}object`;
  const body = pattern(LARGE_BYTES, 7);
  await store.put(key, body, { ...call, ifAbsent: true });
  expectSame(await store.get(key, call), body, 'get of a large object');
  const [offset, length] = [LARGE_BYTES - 70_000, 70_000];
  expectSame(await store.get(key, { ...call, range: { offset, length } }), body.subarray(offset), 'the end of a large object');
}

async function checkNames({ store, prefix, signal }: CheckContext): Promise<undefined> {
  const call = callOptions(signal);
  const names = [
    'A',
    'Z9',
    '_x',
    'a!x',
    'a-x',
    'a.x',
    'a/b',
    'a/b-c',
    'a/c/d',
    'a0',
    'a=b',
    'x.json',
    'y'.repeat(180),
    'z/1/2/3/4/5/6/7/8',
  ];
  await eachOf(names, (name) => store.put(prefix + name, new TextEncoder().encode(name), call));
  for (const name of names) expectSame(await store.get(prefix + name, call), new TextEncoder().encode(name), `get of ${name}`);
  await expectListing(store, prefix, '', names, signal);
  await expectListing(store, prefix, 'a', names, signal);
  await expectListing(store, prefix, 'a/', names, signal);
}

/** Three of them begin as another does and go on with a character below '/', which stores that walk folders get wrong. */
const LIST_FOLDERS = ['a', 'a-b', 'a.b', 'a!b', 'b/c', 'b/d', 'B', 'c', 'd', 'e'] as const;

async function checkList({ store, prefix, signal, listObjects }: CheckContext): Promise<string> {
  // Written in an order that is not the listing's.
  const names = Array.from(
    { length: listObjects },
    (_, i) => `${LIST_FOLDERS[(i * 7) % LIST_FOLDERS.length] ?? ''}/${String((i * 7919) % 104_729)}`,
  );
  await eachOf(names, (name) => store.put(prefix + name, new Uint8Array(name.length), callOptions(signal)));
  for (const start of ['', 'a', 'a/', 'b/', 'b/c/1', 'nothing']) await expectListing(store, prefix, start, names, signal);
  return `${String(listObjects)} objects`;
}

async function checkClock({ store, prefix, signal, now }: CheckContext): Promise<string> {
  const key = `${prefix}object`;
  const before = now().getTime();
  await store.put(key, pattern(10, 1), callOptions(signal));
  const after = now().getTime();
  const info = await store.stat(key, callOptions(signal));
  expect(info !== undefined, 'stat does not find a new object');
  // The store's time is in whole seconds on S3, so that up to a second of lag is no lag.
  const time = info.modifiedAt.getTime();
  const offset = time > after ? time - after : Math.min(0, time + 999 - before);
  const seconds = `${String(Math.round(Math.abs(offset) / 1000))} s`;
  const fact = offset === 0 ? 'no difference' : `the store's clock is ${seconds} ${offset > 0 ? 'ahead of' : 'behind'} this machine's`;
  expect(Math.abs(offset) <= MAX_CLOCK_OFFSET_MS, fact);
  return fact;
}

async function expectListing(
  store: ObjectStore,
  prefix: string,
  start: string,
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const want = names.filter((name) => name.startsWith(start)).sort();
  const got = (await collect(store.list(prefix + start, callOptions(signal)))).map((object) => object.key.slice(prefix.length));
  const missing = want.find((name) => !got.includes(name));
  expect(missing === undefined, `the listing of "${start}" lacks ${String(missing)}`);
  expect(got.length === want.length, `the listing of "${start}" has ${String(got.length)} objects where ${String(want.length)} are`);
  const wrong = want.findIndex((name, i) => got[i] !== name);
  expect(wrong === -1, `the listing of "${start}" is not in order: ${String(got[wrong])} where ${String(want[wrong])} belongs`);
}

class CheckFailure extends Error {}

function expect(condition: boolean, failure: string): asserts condition {
  if (!condition) throw new CheckFailure(failure);
}

function expectSame(got: Uint8Array | undefined, want: Uint8Array | undefined, what: string): void {
  expect(got !== undefined, `${what} finds nothing`);
  expect(want !== undefined && Buffer.compare(got, want) === 0, `${what} returns other bytes`);
}

async function expectCode(code: ErrorCode, what: string, call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (e) {
    if (DmaasError.is(e, code)) return;
    throw e;
  }
  throw new CheckFailure(`${what} succeeds`);
}

async function collect(objects: AsyncIterable<ObjectInfo>): Promise<ObjectInfo[]> {
  const all: ObjectInfo[] = [];
  for await (const object of objects) all.push(object);
  return all;
}

async function eachOf<T>(items: readonly T[], call: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const worker = async () => {
    for (const item of rest) await call(item);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
}

/** Bytes that differ at every position and with every seed, so that a shifted or mixed-up answer is noticed. */
function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0, x = seed + 1; i < length; i++) {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}

function callOptions(signal: AbortSignal | undefined): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
