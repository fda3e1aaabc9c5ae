import assert from 'node:assert/strict';
import { zstdCompressSync } from 'node:zlib';
import { stringify as stringifyYaml } from 'yaml';
import { parseJson, stringifyJson } from '../../core/src/json.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { decodeContentNode, encodeContentNode } from '../../core/src/mover/content.ts';
import { ByteWriter } from '../../core/src/mover/bytes.ts';
import { progressEvent } from '../../core/src/mover/job-mover.ts';
import { moverResultSchema, parseMoverTask } from '../../core/src/mover/task.ts';
import { encodeEntry, readLeaf, writeEntry } from '../../core/src/mover/tree-format.ts';
import { readIndexNode } from '../../core/src/mover/tree-reader.ts';
import { backupSchema } from '../../core/src/repository/records/backup-record.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { decodeSegment, encodeSegment, SegmentReader, segmentHeader } from '../../core/src/repository/format/index-segment.ts';
import { CONFIG_KEY, DEFAULT_PARAMETERS, jsonBytes, loadConfig, makeConfig, WRAPS } from '../../core/src/repository/keys/config.ts';
import { wrapKeySet } from '../../core/src/repository/keys/key-wrap.ts';
import { formatKey, parseKey } from '../../core/src/repository/keys/keys.ts';
import { decodeNode, encodeNode, NODE_TYPE } from '../../core/src/repository/format/node.ts';
import { blobOf, checkPack, openFramePayloadSync, openPackTable } from '../../core/src/repository/format/pack-reader.ts';
import { PackWriter } from '../../core/src/repository/format/pack-writer.ts';
import { packPayloadSync, unpackPayloadSync } from '../../core/src/repository/format/payload.ts';
import { newRecoveryKey, parseUnlock, type Unlock } from '../../core/src/repository/keys/recipients.ts';
import { sealFrame } from '../../core/src/repository/format/frame.ts';
import { openRecord, sealRecord } from '../../core/src/repository/format/sealed-record.ts';
import { encodeHeader, encodeTrailer, lastSection, OBJECT_TYPE, readTrailer } from '../../core/src/repository/format/sealed.ts';
import { parseStored } from '../../core/src/repository/format/stored-json.ts';
import { decodeTable, encodeTable, readRow, ROW_BYTES, rowCount, writeRow, type Table } from '../../core/src/repository/format/table.ts';
import { redactPlan } from '../../core/src/restore/plan.ts';
import { parsePlanDocument } from '../../core/src/restore/plan-document.ts';
import { parseStoreUrl } from '../../core/src/store/config.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { emptyTarget, plan, shop } from './restore.ts';
import { newBackup, seededRandom, testKeys } from './repository.ts';

/** Decodes what is stored or typed; what it makes of any bytes is a value or one of its errors. */
export interface Decoder {
  readonly name: string;
  /** Valid inputs to begin from. */
  readonly seeds: readonly Buffer[];
  /** Reads everything there is in it. */
  readonly decode: (bytes: Buffer) => unknown;
  /** What `decode` made, as bytes again: decoding them must give the same. */
  readonly encode?: (value: never) => Buffer;
}

/** The only ways in which a decoder may refuse. */
export const REFUSALS = new Set(['REPOSITORY_CORRUPT', 'REPOSITORY_VERSION', 'REPOSITORY_KEY', 'STORE_RANGE', 'USAGE']);

const keys = testKeys();
const random = seededRandom(77);
const idOf = (n: number) => Buffer.alloc(24, n).toString('hex') as BlobId;
const ID = idOf(1);
const LIMIT = 16 << 20;

function table(rows: number): Table {
  const body = Buffer.alloc(rows * ROW_BYTES);
  for (let i = 0; i < rows; i++)
    writeRow(body, i, { id: idOf(i + 1), pack: i % 2, offset: 16, length: 300, innerOffset: i * 10, innerLength: 10 });
  const pack = (n: number) => ({
    id: Buffer.alloc(16, n).toString('hex'),
    kind: n % 2 === 0 ? ('data' as const) : ('node' as const),
    size: 5000,
  });
  return { packs: [pack(1), pack(2)], rows: body };
}

function leaf(): Buffer {
  const payload = new ByteWriter(100);
  const references: BlobId[] = [];
  const common = {
    mode: 0o644,
    uid: 1,
    gid: 2,
    mtimeNs: 5n,
    ctimeNs: 6n,
    inode: 7n,
    xattrs: [{ name: Buffer.from('user.a'), value: Buffer.from('b') }],
  };
  const entries = [
    { ...common, path: Buffer.alloc(0), type: 'directory' as const, size: 0, content: { items: [] } },
    {
      ...common,
      path: Buffer.from('a'),
      type: 'file' as const,
      size: 30,
      content: { items: [{ length: 20, id: idOf(2) }, { length: 10 }] },
    },
    { ...common, path: Buffer.from('b\0c'), type: 'symlink' as const, size: 0, content: { items: [] }, target: Buffer.from('../x') },
    { ...common, path: Buffer.from('big'), type: 'file' as const, size: 9e9, content: { node: idOf(3) }, linkGroup: 4n },
  ];
  let before: Buffer = Buffer.alloc(0);
  for (const { path, ...entry } of entries) {
    writeEntry(payload, references, before, path, encodeEntry(entry));
    before = path;
  }
  return encodeNode({ type: NODE_TYPE.leaf, references, payload: payload.bytes });
}

function pack(): { readonly key: string; readonly body: Buffer } {
  const writer = new PackWriter('data', keys, random, Buffer.alloc(8 << 10));
  for (let n = 0; n < 2; n++) {
    const data = Buffer.alloc(300, n);
    const payload = packPayloadSync(data);
    const id = keys.blobId('data', data);
    writer.add(sealFrame(keys, random(16), [payload.subarray(0, 1), payload.subarray(1)]), [{ id, offset: 0, length: 300 }]);
  }
  return { key: writer.key, body: Buffer.from(writer.finish().body) };
}

const PACK = pack();
const PACK_HEADER = encodeHeader(OBJECT_TYPE.pack, keys.epoch);
const SEGMENT_KEY = `index/0/${'ab'.repeat(16)}`;
const SEGMENT_HEADER = segmentHeader(keys);
const SEGMENT = encodeSegment(keys, SEGMENT_KEY, { table: table(5), replaces: [] }, random);
const RECORD_KEY = 'backups/20261122T120311Z-operation1';
const record = newBackup(1, { manifests: idOf(1), volume: idOf(2) });
const RECORD = { ...record, id: '20261122T120311Z-operation1', createdAt: record.startedAt };
const KEY = Buffer.alloc(32, 3);
const RECOVERY = newRecoveryKey();
const NEW_CONFIG = makeConfig(KEY, DEFAULT_PARAMETERS, random, new Date(0));
const CONFIG = Buffer.from(NEW_CONFIG.objects.at(-1)!.body);
const RECOVERY_WRAP = (() => {
  const { keySet, repositoryId } = NEW_CONFIG.config.keys.material;
  return wrapKeySet(keySet, { publicKey: RECOVERY.publicKey }, repositoryId, random, { label: 'safe' });
})();
const OPERATION = 'k7m2q8xa';
const MOVER_TASK = {
  ...{ schema: 1, operation: OPERATION, index: 0, volume: { claim: 'data-db-0', mode: 'filesystem' }, path: '/data' },
  ...{ store: { provider: 'file', path: '/mnt/x' }, unlock: formatKey(KEY) },
};
const MOVER_RESULT = {
  ...{
    schema: 1,
    operation: OPERATION,
    index: 0,
    root: ID,
    files: 1,
    entries: 2,
    bytes: 3,
    addedBytes: 4,
    writtenBytes: 3,
    peakMemoryBytes: 5,
  },
  ...{ findings: [{ level: 'info', code: 'c', message: 'm' }], startedAt: record.startedAt, finishedAt: record.startedAt },
};
/** One step of each kind, without which an input would be long. */
const PLAN = (() => {
  const whole = redactPlan(plan(shop(), emptyTarget()));
  const steps = whole.steps.filter(({ do: what }, i) => whole.steps.findIndex((other) => other.do === what) === i);
  return { ...whole, steps };
})();
const ofText = (parse: (text: string) => unknown) => (bytes: Buffer) => parse(bytes.toString('utf8'));
const seedOf = (value: unknown) => Buffer.from(JSON.stringify(value));

export const DECODERS: readonly Decoder[] = [
  {
    name: 'table',
    seeds: [encodeTable(table(0)), encodeTable(table(5))],
    decode: (b) => decodeTable(b, 'k'),
    encode: (t: Table) => encodeTable(t),
  },
  { name: 'trailer', seeds: [encodeTrailer(100, 7)], decode: (b) => readTrailer(b, 10_000, 'k') },
  { name: 'pack', seeds: [PACK.body], decode: decodePack },
  { name: 'pack table', seeds: [opened(PACK.key, PACK_HEADER, lastSection(PACK.body, PACK.key))], decode: decodePackTable },
  { name: 'segment', seeds: [SEGMENT], decode: (b) => decodeSegment(keys, SEGMENT_KEY, b) },
  {
    name: 'segment directory',
    seeds: [unpackPayloadSync(opened(SEGMENT_KEY, SEGMENT_HEADER, lastSection(SEGMENT, SEGMENT_KEY)), LIMIT, 'k')],
    decode: (b) => decodeDirectory(b, table(5).rows),
  },
  {
    name: 'segment block',
    seeds: [Buffer.from(table(5).rows)],
    decode: (b) => {
      const reader = new SegmentReader(keys, SEGMENT_KEY, SEGMENT_HEADER);
      const directory = reader.directory(lastSection(SEGMENT, SEGMENT_KEY));
      const sections = keys.sections(SEGMENT_HEADER, SEGMENT_KEY);
      const nodes = reader.nodes(directory, sections.seal(directory.blocks.length + 2, b, random));
      assert.deepEqual(reader.block({ ...directory, entries: rowCount(nodes) }, 0, sections.seal(1, b, random)), nodes);
      return nodes;
    },
    encode: (rows: Buffer) => rows,
  },
  {
    name: 'payload',
    seeds: [
      packPayloadSync(Buffer.alloc(3000, 'text ')),
      packPayloadSync(Buffer.from(random(50))),
      Buffer.concat([Buffer.of(1), zstdCompressSync(Buffer.alloc(1 << 20))]),
    ],
    decode: (b) => unpackPayloadSync(b, LIMIT, 'k'),
  },
  {
    name: 'node',
    seeds: [encodeNode({ type: 4, references: [ID, idOf(2)], payload: Buffer.from('payload') })],
    decode: (b) => decodeNode(b, ID),
    encode: (n: never) => encodeNode(n),
  },
  {
    name: 'content',
    seeds: [encodeContentNode(0, [{ length: 5, id: ID }, { length: 7 }]), encodeContentNode(1, [{ length: 50, id: ID }])],
    decode: (b) => decodeContentNode(b, ID),
  },
  { name: 'leaf', seeds: [leaf()], decode: (b) => [...readLeaf(decodeNode(b, ID))] },
  {
    name: 'tree index',
    seeds: [encodeNode({ type: NODE_TYPE.index, references: [ID, idOf(2)], payload: indexPayload() })],
    decode: (b) => readIndexNode(decodeNode(b, ID)),
  },
  {
    name: 'sealed record',
    seeds: [sealRecord(keys, OBJECT_TYPE.backup, RECORD_KEY, RECORD, random)],
    decode: (b) => openRecord(keys, OBJECT_TYPE.backup, RECORD_KEY, b, backupSchema),
  },
  { name: 'record', seeds: [seedOf(RECORD)], decode: (b) => parseStored(b, backupSchema, 'k') },
  {
    name: 'JSON',
    seeds: [seedOf({ a: [1, 2.5e3, null, 'x\u2028'], b: { c: 12345678901234567890n.toString() } })],
    decode: ofText(jsonOrRefuse),
  },
  { name: 'repository config', seeds: [CONFIG], decode: (b) => openConfig({ [CONFIG_KEY]: b }, KEY) },
  {
    name: 'wrapped key',
    seeds: [
      jsonBytes({ repositoryId: NEW_CONFIG.config.id, wrap: RECOVERY_WRAP }),
      jsonBytes({ repositoryId: NEW_CONFIG.config.id, epoch: 1, wraps: [...NEW_CONFIG.config.wraps, RECOVERY_WRAP] }),
    ],
    decode: (b) => openConfig({ [CONFIG_KEY]: CONFIG, [WRAPS + RECOVERY_WRAP.id]: b }, { recoveryKey: RECOVERY.privateKey }),
  },
  { name: 'key', seeds: [Buffer.from(formatKey(KEY))], decode: ofText(parseKey) },
  { name: 'unlock', seeds: [Buffer.from(formatKey(KEY))], decode: ofText(parseUnlock) },
  {
    name: 'restore plan',
    seeds: [Buffer.from(stringifyYaml(PLAN, { version: '1.2', lineWidth: 0 })), Buffer.from(stringifyJson(PLAN))],
    decode: ofText((text) => {
      const parsed = parsePlanDocument(text);
      assertJson(parsed, 'plan');
      return stringifyJson(parsed);
    }),
    encode: (text: string) => Buffer.from(text),
  },
  {
    name: 'mover message',
    seeds: [seedOf({ type: 'bytes', volume: 'data-db-0', done: 5, added: 3, total: 10 })],
    decode: ofText((text) => {
      const event = progressEvent(text);
      if (event === undefined) throw new DmaasError('USAGE', 'a line of a log that says nothing');
      const exact = /^\{"type":"bytes","volume":"[a-z0-9.-]+","done":\d+,"added":\d+(,"total":\d+)?\}$/;
      assert.match(JSON.stringify(event), exact);
      return event;
    }),
    encode: (event: unknown) => seedOf(event),
  },
  {
    name: 'mover task',
    seeds: [
      seedOf({ ...MOVER_TASK, direction: 'capture', parent: ID, moment: '0a' }),
      seedOf({ ...MOVER_TASK, direction: 'populate', root: ID }),
    ],
    decode: ofText((text) => parseMoverTask(jsonOrRefuse(text))),
    encode: (task: unknown) => seedOf(task),
  },
  { name: 'mover result', seeds: [seedOf(MOVER_RESULT)], decode: (b) => parseStored(b, moverResultSchema, 'k') },
  {
    name: 'store URL',
    seeds: ['s3://bucket/prefix', 'gs://bucket', 'file:///mnt/x'].map((url) => Buffer.from(url)),
    decode: ofText((text) => parseStoreUrl(text, {})),
  },
];

/** Fails when there is anything in it that JSON does not have. */
function assertJson(value: unknown, where: string): void {
  if (value === null || ['boolean', 'string', 'bigint'].includes(typeof value)) return;
  if (typeof value === 'number') assert.ok(Number.isFinite(value), where);
  else if (Array.isArray(value))
    value.forEach((item, i) => {
      assertJson(item, `${where}.${i}`);
    });
  else {
    assert.ok(typeof value === 'object' && [Object.prototype, null].includes(Object.getPrototypeOf(value) as null), where);
    for (const [key, field] of Object.entries(value)) if (field !== undefined) assertJson(field, `${where}.${key}`);
  }
}

function indexPayload(): Buffer {
  const payload = new ByteWriter(20);
  for (const [shared, name] of [
    [0, 'a'],
    [0, 'b'],
  ] as const) {
    payload.varint(shared);
    payload.varint(name.length);
    payload.raw(Buffer.from(name));
    payload.varint(3);
  }
  return payload.bytes;
}

/** Opens a repository that has these objects. */
async function openConfig(objects: Readonly<Record<string, Buffer>>, unlock: Unlock): Promise<unknown> {
  const store = new MemoryStore();
  for (const [key, body] of Object.entries(objects)) await store.put(key, body);
  const config = await loadConfig(store, unlock, {});
  return config?.parameters;
}

/** What is in a section, without its seal: changes of it get further than those of what is sealed. */
function opened(key: string, header: Buffer, section: Uint8Array): Buffer {
  return keys.sections(header, key).open(0, section);
}

/** Reads a pack whose table this is, and each blob that it names. */
function decodePackTable(plaintext: Buffer): Buffer[] {
  const section = keys.sections(PACK_HEADER, PACK.key).seal(0, plaintext, random);
  const { rows } = openPackTable(keys, PACK.key, PACK_HEADER, section, PACK.body.length);
  return Array.from({ length: rowCount(rows) }, (_, i) => {
    const row = readRow(rows, i);
    const payload = openFramePayloadSync(keys, PACK.body.subarray(row.offset, row.offset + row.length), PACK.key);
    return Buffer.from(blobOf(keys, payload, row, 'data', PACK.key));
  });
}

/** Reads a segment whose directory this is and whose sections all have these rows. */
function decodeDirectory(plaintext: Buffer, rows: Uint8Array): unknown {
  const reader = new SegmentReader(keys, SEGMENT_KEY, SEGMENT_HEADER);
  const sections = keys.sections(SEGMENT_HEADER, SEGMENT_KEY);
  const directory = reader.directory(sections.seal(0, packPayloadSync(plaintext), random));
  const blocks = directory.blocks.map((_, i) => reader.block(directory, i, sections.seal(i + 1, rows, random)));
  return { directory, blocks };
}

async function decodePack(bytes: Buffer): Promise<void> {
  const [fault] = (await checkPack(keys, PACK.key, bytes, undefined)).faults;
  if (fault !== undefined) throw fault;
}

/** Text that is no JSON is the caller's to refuse. */
function jsonOrRefuse(text: string): unknown {
  try {
    return parseJson(text);
  } catch (e) {
    if (e instanceof SyntaxError) throw new DmaasError('USAGE', 'no JSON');
    throw e;
  }
}
