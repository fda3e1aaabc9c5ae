import { crc32 } from 'node:zlib';
import { DmaasError } from '../errors.ts';
import type { PutOptions } from './object-store.ts';

/** Together with a location's prefix a key stays within S3's limit of 1024 bytes. */
const MAX_KEY_LENGTH = 800;
/** A segment is a file name in the `file` store, where 255 bytes is the limit. */
const MAX_SEGMENT_LENGTH = 200;
const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9!_.=-]*$/;

/**
 * Whether `key` can be stored everywhere under the same name: ASCII segments joined by '/', none empty and none beginning with
 * a dot, no character that a URL, a shell or a file system treats specially. So comparing two keys as JavaScript strings is
 * comparing their bytes, and no key escapes a directory.
 */
export function isKey(key: string): boolean {
  return key.length <= MAX_KEY_LENGTH && key.split('/').every((segment) => segment.length <= MAX_SEGMENT_LENGTH && SEGMENT.test(segment));
}

/** Whether `prefix` can be the beginning of a key. */
export function isKeyPrefix(prefix: string): boolean {
  return prefix === '' || isKey(`${prefix}x`);
}

/** Keys come from our own code, so a wrong one is a defect. */
export function assertKey(key: string): void {
  if (!isKey(key)) throw new DmaasError('INTERNAL', `"${key}" is not a valid object key`);
}

export function assertKeyPrefix(prefix: string): void {
  if (!isKeyPrefix(prefix)) throw new DmaasError('INTERNAL', `"${prefix}" does not begin any valid object key`);
}

export interface ByteRange {
  /** At least 0. */
  readonly offset: number;
  /** At least 1: HTTP has no empty ranges. */
  readonly length: number;
}

export function assertRange(range: ByteRange): void {
  if (!Number.isSafeInteger(range.offset) || !Number.isSafeInteger(range.length) || range.offset < 0 || range.length < 1) {
    throw new DmaasError('INTERNAL', `${String(range.length)} bytes at ${String(range.offset)} is not a valid range`);
  }
}

/** STORE_RANGE: the object ends before the range does. */
export function rangeError(location: string, key: string, range: ByteRange, size?: number): DmaasError {
  const has = size === undefined ? 'it is shorter' : `it has ${String(size)}`;
  return new DmaasError('STORE_RANGE', `${location}/${key} has no ${String(range.length)} bytes at ${String(range.offset)}: ${has}`, {
    hint: 'the object was cut short or replaced; verify the repository',
    details: { key, offset: range.offset, length: range.length, ...(size === undefined ? {} : { size }) },
  });
}

/** Throws MACHINE_FAULT when a body is not what it was when its checksum was computed. */
export function assertIntact(location: string, key: string, body: Uint8Array, { crc32: expected }: PutOptions): void {
  if (expected === undefined || crc32(body) === expected) return;
  throw new DmaasError(
    'MACHINE_FAULT',
    `${location}/${key} was not written: its bytes changed in the memory of this machine before they were sent`,
    {
      hint: 'run it again on another machine, and test the memory of this one',
      details: { key },
    },
  );
}

/** STORE_EXISTS: a conditional put found the key taken. */
export function existsError(location: string, key: string): DmaasError {
  return new DmaasError('STORE_EXISTS', `${location}/${key} exists already`, { details: { key } });
}
