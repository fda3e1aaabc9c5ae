/** Rows B6, C1 to C5 and I4 of the fault matrix: whatever happens to an object, wrong bytes are never returned, and the damage is named. */
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { DmaasError } from '../../core/src/errors.ts';
import type { Finding } from '../../core/src/model.ts';
import { createRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import {
  all,
  makeBackup,
  objectsOf,
  operationOf,
  QUIET,
  restoreBackup,
  seededRandom,
  SMALL,
  storeOf,
  UNLOCK,
} from '../support/repository.ts';
import { addCases } from '../support/cases.ts';

const random = seededRandom(12);
const contents = [
  Array.from({ length: 9 }, (_, i) => Buffer.from(random(900 + i * 400))),
  Array.from({ length: 9 }, (_, i) => (i < 4 ? Buffer.alloc(6000, i) : Buffer.from(random(500 + i * 400)))),
];
contents[1]!.push(contents[0]![8]!);

interface Outcome {
  /** Operations of the backups that are listed. */
  readonly listed: readonly string[];
  /** Of these, those that restored; what they restored was compared. */
  readonly restored: readonly string[];
  readonly errors: readonly DmaasError[];
  readonly findings: readonly Finding[];
}

const ALLOWED = new Set(['REPOSITORY_CORRUPT', 'REPOSITORY_VERSION', 'REPOSITORY_KEY', 'REPOSITORY_NOT_FOUND', 'STORE_RANGE']);

/** Opens, lists, restores and verifies. Fails when any byte differs, or an error is not one of those that mean damage. */
async function probe(objects: ReadonlyMap<string, Uint8Array>): Promise<Outcome> {
  const errors: DmaasError[] = [];
  const orError = async <T>(result: Promise<T>): Promise<T | undefined> => {
    try {
      return await result;
    } catch (e) {
      assert.ok(DmaasError.is(e) && ALLOWED.has(e.code), e instanceof Error ? e.stack : String(e));
      errors.push(e);
      return undefined;
    }
  };
  const repository = await orError(openRepository(await storeOf(objects), UNLOCK));
  if (repository === undefined) return { listed: [], restored: [], errors, findings: [] };
  const backups = await all(repository.backups(undefined, { onUnreadable: (_, e) => errors.push(e) }));
  const restored: string[] = [];
  for (const backup of backups) {
    const data = await orError(restoreBackup(repository, backup));
    if (data === undefined) continue;
    const expected = contents[Number(backup.operation.slice(operationOf(0).length - 1)) - 1]!;
    assert.ok(data.length === expected.length && data.every((d, i) => Buffer.compare(d, expected[i]!) === 0), 'wrong bytes were returned');
    restored.push(backup.operation);
  }
  const findings = (await orError(repository.verify('data', QUIET))) ?? [];
  return { listed: backups.map((b) => b.operation), restored, errors, findings };
}

function isDetected(outcome: Outcome): boolean {
  return outcome.errors.length > 0 || outcome.findings.length > 0;
}

/** The backups that restore are those that no blocker names; a damaged object takes nothing else with it. */
function assertHonest(outcome: Outcome, what: string): void {
  if (outcome.listed.length < 2) return;
  const blamed = outcome.findings
    .filter((f) => f.level === 'blocker')
    .map((f) => f.message)
    .join('\n');
  for (const operation of outcome.listed) {
    assert.equal(blamed.includes(operation), !outcome.restored.includes(operation), `${what}: ${operation}\n${blamed}`);
  }
}

/** Some of every region: all of the fixed parts, and an even spread over the rest. */
function positionsIn(object: Uint8Array): number[] {
  const positions = new Set<number>();
  for (let at = 0; at < 36; at++) positions.add(at).add(object.length - 1 - at);
  for (let n = 0; n < 16; n++) positions.add(Math.floor((object.length * n) / 16));
  return [...positions].filter((at) => at >= 0 && at < object.length);
}

function withObject(objects: ReadonlyMap<string, Uint8Array>, key: string, body: Uint8Array | undefined): Map<string, Uint8Array> {
  const changed = new Map(objects);
  if (body === undefined) changed.delete(key);
  else changed.set(key, body);
  return changed;
}

/** Readable objects may be laid out anew without meaning anything else. */
function meansTheSame(key: string, a: Uint8Array, b: Uint8Array): boolean {
  if (key === 'RECOVERY.txt') return true;
  if (key !== 'dmaas.json' && !key.startsWith('keys/')) return false;
  const parse = (bytes: Uint8Array) => {
    // Base64 may carry bits that nobody reads.
    return JSON.parse(Buffer.from(bytes).toString(), (name, value: unknown) =>
      typeof value === 'string' && ['sealed', 'salt', 'commitment'].includes(name) ? Buffer.from(value, 'base64').toString('hex') : value,
    ) as unknown;
  };
  try {
    return isDeepStrictEqual(parse(a), parse(b));
  } catch {
    return false;
  }
}

describe('damage to each object of a repository', function () {
  this.timeout(600_000);
  let objects: ReadonlyMap<string, Uint8Array>;
  let keys: readonly string[];

  before(async () => {
    const store = new MemoryStore();
    const repository = await createRepository(store, UNLOCK, { parameters: SMALL });
    for (const [n, content] of contents.entries()) await makeBackup(repository, n + 1, content);
    objects = await objectsOf(store);
    keys = [...objects.keys()];
    for (const kind of ['backups/', 'index/', 'packs/']) assert.ok(keys.filter((key) => key.startsWith(kind)).length >= 2);
    const { listed, restored, errors, findings } = await probe(objects);
    assert.deepEqual([listed.length, restored.length, errors, findings], [2, 2, [], []]);
  });

  it('one flipped bit anywhere is found (C1)', async () => {
    let cases = 0;
    for (const key of keys) {
      const body = objects.get(key)!;
      for (const at of positionsIn(body)) {
        const changed = Buffer.from(body);
        changed[at]! ^= 1 << (at % 8);
        const outcome = await probe(withObject(objects, key, changed));
        assert.ok(isDetected(outcome) || meansTheSame(key, body, changed), `${key} at ${at} of ${body.length}`);
        assertHonest(outcome, `${key} at ${at}`);
        cases++;
        addCases(1);
      }
    }
    assert.ok(cases > 800, String(cases));
  });

  it('what is cut, padded, blanked or removed is found (C2)', async () => {
    for (const key of keys) {
      const body = Buffer.from(objects.get(key)!);
      const variants: (Buffer | undefined)[] = [
        undefined,
        Buffer.alloc(body.length),
        Buffer.concat([body, Buffer.alloc(1)]),
        Buffer.concat([body, body]),
      ];
      for (const length of [0, 1, 15, 16, 17, body.length >> 1, body.length - 17, body.length - 16, body.length - 1]) {
        variants.push(body.subarray(0, Math.max(0, length)));
      }
      for (const variant of variants) {
        const what = `${key} with ${variant?.length ?? 'no'} of ${body.length} bytes`;
        const outcome = await probe(withObject(objects, key, variant));
        // A backup without a record is a deleted backup, which is allowed.
        const isHarmless = variant === undefined ? /^(RECOVERY|backups)/.test(key) : meansTheSame(key, body, variant);
        assert.ok(isHarmless || isDetected(outcome), what);
        assertHonest(outcome, what);
      }
    }
  });

  it('an object in the place of another is found (C3, B6)', async () => {
    for (const key of keys) {
      for (const other of keys) {
        if (key === other || key === 'RECOVERY.txt') continue;
        const outcome = await probe(withObject(objects, key, objects.get(other)));
        assert.ok(isDetected(outcome), `${other} under ${key}`);
        assertHonest(outcome, `${other} under ${key}`);
      }
    }
  });

  it('a lost index costs nothing: packs name their blobs themselves', async () => {
    const outcome = await probe(new Map([...objects].filter(([key]) => !key.startsWith('index/'))));
    assert.equal(outcome.restored.length, 2);
    assert.deepEqual(new Set(outcome.findings.map((f) => `${f.level} ${f.code}`)), new Set(['warning pack-unindexed']));
  });

  it('an index and all tables lost cost everything, and it is said', async () => {
    const changed = new Map(objects);
    for (const key of keys) {
      if (key.startsWith('index/')) changed.delete(key);
      if (key.startsWith('packs/')) changed.set(key, objects.get(key)!.subarray(0, -1));
    }
    const outcome = await probe(changed);
    assert.equal(outcome.restored.length, 0);
    assertHonest(outcome, 'no index');
  });

  it('a lost pack is named, and nothing else is', async () => {
    for (const key of keys.filter((k) => k.startsWith('packs/'))) {
      const store = await storeOf(withObject(objects, key, undefined));
      const damagedOnes = (await (await openRepository(store, UNLOCK)).verify('data', QUIET)).filter((f) => f.level === 'blocker');
      assert.ok(damagedOnes.length > 0);
      assert.ok(damagedOnes.every((f) => f.message.includes(key)));
    }
  });

  it('another copy of a blob is read when one is damaged', async () => {
    const store = new MemoryStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    const writers: Repository[] = [await openRepository(store, UNLOCK), await openRepository(store, UNLOCK)];
    for (const [n, writer] of writers.entries()) await makeBackup(writer, n + 1, contents[0]!);
    const both = await objectsOf(store);
    for (const [key, body] of both) {
      if (!key.startsWith('packs/')) continue;
      for (const broken of [undefined, Buffer.alloc(body.length), body.subarray(0, 100)]) {
        const repository = await openRepository(await storeOf(withObject(both, key, broken)), UNLOCK);
        for (const backup of await all(repository.backups())) assert.deepEqual(await restoreBackup(repository, backup), contents[0]);
        const findings = await repository.verify('data', QUIET);
        assert.deepEqual(
          findings.map((f) => f.level),
          ['warning'],
          'no backup is affected',
        );
        assert.ok(findings[0]!.message.includes(key));
      }
    }
  });

  it('the shallow check finds what is missing without reading packs of data', async () => {
    for (const key of keys.filter((k) => k.startsWith('packs/'))) {
      const check = async (body: Uint8Array | undefined) => {
        const repository = await openRepository(await storeOf(withObject(objects, key, body)), UNLOCK);
        const findings = await repository.verify('structure', QUIET);
        return findings.filter((f) => f.message.startsWith(key)).map((f) => f.level);
      };
      assert.deepEqual(await check(undefined), ['blocker'], key);
      assert.deepEqual(await check(objects.get(key)!.subarray(0, 100)), ['blocker'], key);
      assert.deepEqual(await check(objects.get(key)!.subarray(0, -1)), ['warning'], `${key}: only its trailer is cut`);
    }
  });

  it('objects of a newer format are left alone and never called damaged (C5)', async () => {
    for (const key of keys.filter((k) => /^(backups|index)\//.test(k))) {
      const newer = Buffer.from(objects.get(key)!);
      newer[5] = 2;
      newer[6] = 2;
      const store = await storeOf(withObject(objects, key, newer));
      const before = await objectsOf(store);
      const use = async () => {
        const repository = await openRepository(store, UNLOCK);
        await all(repository.backups());
      };
      await assert.rejects(use(), { code: 'REPOSITORY_VERSION', message: `${key} needs a newer DMaaS` });
      assert.deepEqual(await objectsOf(store), before);
    }
  });
});
