import { DmaasError } from '../errors.ts';
import type { BlobId } from '../repository/format/blob.ts';
import { NODE_TYPE, type Node } from '../repository/format/node.ts';
import { ByteReader, ByteWriter, varintBytes } from './bytes.ts';
import {
  itemsLength,
  MAX_INLINE_ITEMS,
  NO_CONTENT,
  readItem,
  References,
  writeItem,
  type Content,
  type ContentItem,
} from './content-format.ts';
import { MAX_PATH_BYTES, parentOf, pathFault, sharedBytes, showPath } from './paths.ts';

export const ENTRY_TYPES = ['file', 'directory', 'symlink', 'fifo', 'socket', 'character-device', 'block-device'] as const;
export type EntryType = (typeof ENTRY_TYPES)[number];

export interface ExtendedAttribute {
  readonly name: Buffer;
  readonly value: Buffer;
}

/** One path of a volume, with everything that is kept of it. */
export interface Entry {
  /** See `paths.ts`; empty for the root. */
  readonly path: Buffer;
  readonly type: EntryType;
  /** The lower 12 bits: permissions, setuid, setgid, sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Since 1970; may be negative. */
  readonly mtimeNs: bigint;
  /** 0 when the entry may have changed unnoticed after it was read, so that it is read again at the next backup. */
  readonly ctimeNs: bigint;
  readonly inode: bigint;
  /** Of a file, its bytes; else 0. */
  readonly size: number;
  /** Of a file. */
  readonly content: Content;
  /** Of a symlink: any bytes. */
  readonly target?: Buffer;
  readonly device?: { readonly major: number; readonly minor: number };
  /** Entries of one group are one inode. */
  readonly linkGroup?: bigint;
  /** Sorted by name. */
  readonly xattrs: readonly ExtendedAttribute[];
  /** As FS_IOC_GETFLAGS says; for people. */
  readonly inodeFlags?: number;
}

/** Of the fields behind an entry's head. */
export const TAG = { content: 1, contentNode: 3, target: 5, device: 7, linkGroup: 9, xattrs: 11, inodeFlags: 2 } as const;

const NS = 1_000_000_000n;
const MAX_XATTR_BYTES = 64 << 10;
const MAX_TARGET_BYTES = 64 << 10;
/** Bytes of all paths of a leaf, written out. Paths are front-coded, so a small leaf could hold endless ones. */
export const MAX_LEAF_PATH_BYTES = 32 << 20;

/** An entry without its path, as it stands in a leaf. */
export interface EncodedEntry {
  readonly bytes: Uint8Array;
  /** The ids that it uses, in order. */
  readonly references: readonly BlobId[];
}

export function encodeEntry(entry: Omit<Entry, 'path'>): EncodedEntry {
  const body = new ByteWriter();
  const references: BlobId[] = [];
  const { type, mode, uid, gid, inode, size } = entry;
  const [mtimeSeconds, mtimeNanoseconds] = splitTime(entry.mtimeNs);
  const [ctimeSeconds, ctimeNanoseconds] = splitTime(entry.ctimeNs);
  writeHead(body, { type, mode, uid, gid, mtimeSeconds, mtimeNanoseconds, ctimeSeconds, ctimeNanoseconds, inode, size });
  writeFields(body, references, entry);
  return { bytes: body.bytes, references };
}

/** What an entry begins with. */
export interface Head extends Pick<Entry, 'type' | 'mode' | 'uid' | 'gid' | 'inode' | 'size'> {
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly ctimeSeconds: number;
  readonly ctimeNanoseconds: number;
  /** The inode, where a number can hold it and making a bigint can be spared. */
  readonly inodeNumber?: number | undefined;
}

/** Of an entry, or of what the system says of a file. The size is that of a file's content. */
export function writeHead(body: ByteWriter, head: Head): void {
  body.u8(ENTRY_TYPES.indexOf(head.type) + 1);
  body.varint(head.mode);
  body.varint(head.uid);
  body.varint(head.gid);
  body.signed(head.mtimeSeconds);
  body.varint(head.mtimeNanoseconds);
  body.signed(head.ctimeSeconds);
  body.varint(head.ctimeNanoseconds);
  const { inodeNumber } = head;
  if (inodeNumber === undefined) body.varint64(head.inode);
  else body.varint(inodeNumber);
  body.varint(head.type === 'file' ? head.size : 0);
}

/** Mode, owner, group, two times in two numbers each, inode. */
const NUMBERS_BEFORE_SIZE = 8;

/** Jumps over a head; returns the size in it. */
export function skipHead(body: ByteReader): number {
  body.u8();
  for (let i = 0; i < NUMBERS_BEFORE_SIZE; i++) body.skipVarint();
  return body.varint();
}

/** Appends an entry to a leaf's payload and its ids to the leaf's references. `before` is the path of the entry before, empty for the first. */
export function writeEntry(to: ByteWriter, references: BlobId[], before: Buffer, path: Buffer, entry: EncodedEntry): void {
  const shared = sharedBytes(before, path);
  const rest = path.subarray(shared);
  to.varint(varintBytes(shared) + varintBytes(rest.length) + rest.length + entry.bytes.length);
  to.varint(shared);
  to.sized(rest);
  to.raw(entry.bytes);
  for (const id of entry.references) references.push(id);
}

function writeFields(body: ByteWriter, references: BlobId[], entry: Omit<Entry, 'path'>): void {
  const field = (tag: number, write: (value: ByteWriter) => void): void => {
    const value = new ByteWriter(64);
    write(value);
    body.varint(tag);
    body.sized(value.bytes);
  };
  const { content, target, device, linkGroup, xattrs, inodeFlags } = entry;
  if ('node' in content) {
    references.push(content.node);
    field(TAG.contentNode, () => undefined);
  } else if (content.items.length > 0) {
    field(TAG.content, (value) => {
      for (const item of content.items) writeItem(value, references, item);
    });
  }
  if (target !== undefined) {
    field(TAG.target, (value) => {
      value.raw(target);
    });
  }
  if (device !== undefined) {
    field(TAG.device, (value) => {
      value.varint(device.major);
      value.varint(device.minor);
    });
  }
  if (linkGroup !== undefined) {
    field(TAG.linkGroup, (value) => {
      value.varint64(linkGroup);
    });
  }
  if (xattrs.length > 0) {
    field(TAG.xattrs, (value) => {
      for (const xattr of xattrs) {
        value.sized(xattr.name);
        value.sized(xattr.value);
      }
    });
  }
  if (inodeFlags !== undefined) {
    field(TAG.inodeFlags, (value) => {
      value.varint(inodeFlags);
    });
  }
}

/**
 * The entries of a leaf, in order, each checked: paths ascend and have names a directory may hold, an entry has what its type needs
 * and nothing beyond the limits, and the leaf uses its references exactly. Nothing is trusted but that the bytes are authentic.
 */
export function* readLeaf(node: Node): Generator<Entry> {
  const reader = new ByteReader(node.payload, 'tree leaf');
  if (node.type !== NODE_TYPE.leaf) reader.fail(`it is a node of type ${node.type}`);
  const references = new References(node.references);
  let before: Buffer | undefined;
  let pathBytes = 0;
  while (!reader.done) {
    const body = reader.section(reader.varint());
    const entry = readEntry(readPath(body, before), body, references);
    pathBytes += entry.path.length;
    if (pathBytes > MAX_LEAF_PATH_BYTES) reader.fail('its paths are too long');
    before = entry.path;
    yield entry;
  }
  if (before === undefined) reader.fail('it has no entries');
  if (!references.done) reader.fail('it has references that no entry uses');
}

/** An entry of its bytes behind the path, checked as `readLeaf` says. */
export function decodeEntry(path: Buffer, bytes: Uint8Array, ids: readonly BlobId[]): Entry {
  return readEntry(path, new ByteReader(bytes, 'tree leaf'), new References(ids));
}

function readEntry(path: Buffer, body: ByteReader, references: References): Entry {
  const type = ENTRY_TYPES[body.u8() - 1] ?? unknown('a type of file');
  const mode = body.varint();
  const uid = body.varint();
  const gid = body.varint();
  if (mode > 0o7777 || uid > 0xffff_ffff || gid > 0xffff_ffff) body.fail('a mode or an owner is out of range');
  const mtimeNs = readTime(body);
  const ctimeNs = readTime(body);
  const inode = body.varint64();
  const size = body.varint();
  const entry: Entry = { path, type, mode, uid, gid, mtimeNs, ctimeNs, inode, size, ...readFields(body, references) };
  const fault = entryFault(entry);
  if (fault !== undefined) body.fail(`${showPath(path)} ${fault}`);
  return entry;
}

/** A front-coded path, which must come after `before`. */
export function readPath(body: ByteReader, before: Buffer | undefined): Buffer {
  const shared = body.varint();
  if (shared > (before?.length ?? 0)) body.fail('a path shares more than there is');
  const rest = body.sized(MAX_PATH_BYTES - shared);
  const path = before === undefined || shared === 0 ? rest : Buffer.concat([before.subarray(0, shared), rest]);
  const fault = pathFault(path, shared);
  if (fault !== undefined) body.fail(`it has ${fault}`);
  if (before !== undefined && Buffer.compare(before, path) >= 0) body.fail('its paths do not ascend');
  return path;
}

/** More than there are tags. */
const MAX_FIELDS = 64;

type Fields = Pick<Entry, 'content' | 'target' | 'device' | 'linkGroup' | 'xattrs' | 'inodeFlags'>;

function readFields(body: ByteReader, references: References): Fields {
  const fields: Fields = { content: NO_CONTENT, xattrs: [] };
  const seen: number[] = []; // few
  while (!body.done) {
    const tag = body.varint();
    const value = body.section(body.varint());
    if (seen.includes(tag)) body.fail('an entry has a field twice');
    if (seen.push(tag) > MAX_FIELDS) body.fail('an entry has too many fields');
    Object.assign(fields, readField(tag, value, references));
    if (!value.done) body.fail('a field is longer than its value');
  }
  return fields;
}

function readField(tag: number, value: ByteReader, references: References): Partial<Fields> {
  switch (tag) {
    case TAG.content:
      return { content: { items: readInlineItems(value, references) } };
    case TAG.contentNode:
      return { content: { node: references.take(value) } };
    case TAG.target:
      return { target: value.rest(MAX_TARGET_BYTES) };
    case TAG.device:
      return { device: { major: value.varint(), minor: value.varint() } };
    case TAG.linkGroup:
      return { linkGroup: value.varint64() };
    case TAG.xattrs:
      return { xattrs: readXattrs(value) };
    case TAG.inodeFlags:
      return { inodeFlags: value.varint() };
    default:
      if (tag % 2 === 1) unknown('an attribute of a file');
      value.rest(Number.MAX_SAFE_INTEGER);
      return {};
  }
}

function readInlineItems(value: ByteReader, references: References): ContentItem[] {
  const items: ContentItem[] = [];
  while (!value.done) {
    if (items.length === MAX_INLINE_ITEMS) value.fail('a file has too many pieces for a leaf');
    items.push(readItem(value, references));
  }
  return items;
}

function readXattrs(value: ByteReader): ExtendedAttribute[] {
  const xattrs: ExtendedAttribute[] = [];
  let before: Buffer | undefined;
  while (!value.done) {
    const name = value.sized(255);
    if (name.length === 0 || name.includes(0)) value.fail('an extended attribute has no proper name');
    if (before !== undefined && Buffer.compare(before, name) >= 0) value.fail('extended attributes are not sorted');
    xattrs.push({ name, value: value.sized(MAX_XATTR_BYTES) });
    before = name;
  }
  return xattrs;
}

/** What an entry lacks or has too much of for its type, or undefined. */
function entryFault(entry: Entry): string | undefined {
  const { type, content, size, target, device } = entry;
  if (entry.path.length === 0 && type !== 'directory') return 'is the root but no directory';
  if (type === 'file') {
    if (!('node' in content) && itemsLength(content.items) !== size) return 'has content of another size';
    if ('node' in content && size === 0) return 'has content but no size';
  } else if (size !== 0 || 'node' in content || content.items.length > 0) return 'has content but is no file';
  if ((type === 'symlink') !== (target !== undefined)) return 'is a symlink without a target, or the reverse';
  if (target !== undefined && (target.length === 0 || target.includes(0))) return 'has an impossible target';
  if ((type === 'character-device' || type === 'block-device') !== (device !== undefined))
    return 'is a device without a number, or the reverse';
  if (type === 'directory' && entry.linkGroup !== undefined) return 'is a hard-linked directory';
  return undefined;
}

/** Whole seconds, rounded down, and the rest in nanoseconds. */
function splitTime(timeNs: bigint): [seconds: number, nanoseconds: number] {
  const ns = ((timeNs % NS) + NS) % NS;
  return [Number((timeNs - ns) / NS), Number(ns)];
}

function readTime(from: ByteReader): bigint {
  const seconds = from.signed();
  const ns = from.varint();
  if (ns >= 1_000_000_000) from.fail('a time is out of range');
  return BigInt(seconds) * NS + BigInt(ns);
}

function unknown(what: string): never {
  throw new DmaasError('REPOSITORY_VERSION', `the backup holds ${what} that this version does not know`, { hint: 'update DMaaS' });
}

/**
 * Checks what a leaf alone cannot: that paths ascend across leaves, that the root comes first, and that every entry lies in a directory
 * that came before it. So no name comes twice, and nothing can lie below a symlink.
 */
export class TreeOrder {
  #before: Buffer | undefined;
  /** Lengths of those beginnings of `#before` that are directories, itself included. */
  readonly #directories: number[] = [];

  /** Throws REPOSITORY_CORRUPT. */
  check(entry: Entry): void {
    const { path } = entry;
    const before = this.#before;
    if (before === undefined ? path.length !== 0 : Buffer.compare(before, path) >= 0) refuse(path, 'is out of order');
    const parent = parentOf(path);
    while ((this.#directories.at(-1) ?? 0) > parent.length) this.#directories.pop();
    if (before !== undefined && (this.#directories.at(-1) !== parent.length || sharedBytes(before, parent) < parent.length)) {
      refuse(path, 'lies in no directory');
    }
    if (entry.type === 'directory') this.#directories.push(path.length);
    this.#before = path;
  }
}

function refuse(path: Buffer, fact: string): never {
  throw new DmaasError('REPOSITORY_CORRUPT', `the backed-up tree is malformed: ${showPath(path)} ${fact}`);
}
