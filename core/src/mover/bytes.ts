import { DmaasError } from '../errors.ts';

/** Of 64 bits. */
const MAX_VARINT_BYTES = 10;
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Builds the byte formats of DESIGN 4.5 and 4.6. Grows as needed; `bytes` is a view that lasts until the next write. */
export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(capacity = 256) {
    this.#buffer = Buffer.allocUnsafe(capacity);
  }

  get length(): number {
    return this.#length;
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#length++] = value;
  }

  /** LEB128 of an integer from 0 to 2^53 - 1. */
  varint(value: number): void {
    this.#reserve(8);
    let rest = value;
    for (; rest >= 2 ** 31; rest = Math.floor(rest / 0x80)) this.#buffer[this.#length++] = (rest % 0x80) | 0x80;
    for (; rest >= 0x80; rest >>= 7) this.#buffer[this.#length++] = (rest & 0x7f) | 0x80;
    this.#buffer[this.#length++] = rest;
  }

  /** LEB128 of an unsigned 64-bit integer. */
  varint64(value: bigint): void {
    if (value <= MAX_SAFE) {
      this.varint(Number(value));
      return;
    }
    this.#reserve(10);
    let rest = value;
    for (; rest >= 0x80n; rest >>= 7n) this.#buffer[this.#length++] = Number(rest & 0x7fn) | 0x80;
    this.#buffer[this.#length++] = Number(rest);
  }

  /** Zigzag-coded LEB128 of an integer between -2^52 and 2^52. */
  signed(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** A length as varint, and the bytes. */
  sized(bytes: Uint8Array): void {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** Whether what was written is the same as these bytes of `bytes`. */
  matches(bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start !== this.#length) return false;
    for (let i = 0; i < this.#length; i++) if (this.#buffer[i] !== bytes[start + i]) return false;
    return true;
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + count));
    grown.set(this.bytes);
    this.#buffer = grown;
  }
}

/** How long a number is as a varint. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

/** Reads what `ByteWriter` wrote. Whatever does not fit is REPOSITORY_CORRUPT: what is read here has been authenticated, but not written by a friend for sure. */
export class ByteReader {
  readonly #buffer: Buffer;
  readonly #what: string;
  #at = 0;

  /** `what` names the thing in messages, e.g. `tree leaf`. */
  constructor(bytes: Uint8Array, what: string) {
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#what = what;
  }

  get done(): boolean {
    return this.#at === this.#buffer.length;
  }

  /** How many bytes have been read. */
  get position(): number {
    return this.#at;
  }

  fail(fact: string): never {
    throw new DmaasError('REPOSITORY_CORRUPT', `a ${this.#what} is malformed: ${fact}`);
  }

  u8(): number {
    return this.#buffer[this.#take(1)] as number;
  }

  varint(): number {
    const buffer = this.#buffer;
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      if (this.#at >= buffer.length) this.#endsEarly();
      const byte = buffer[this.#at++] as number;
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) this.fail('a number is too large');
      if (byte < 0x80) return value;
      if (scale > Number.MAX_SAFE_INTEGER) this.fail('a number is too long');
    }
  }

  /** Jumps over a number of up to 64 bits. */
  skipVarint(): void {
    for (let bytes = 1; this.u8() >= 0x80; bytes++) if (bytes === MAX_VARINT_BYTES) this.fail('a number is too long');
  }

  varint64(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.u8();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value < 1n << 64n ? value : this.fail('a number is too large');
    }
    return this.fail('a number is too long');
  }

  signed(): number {
    const value = this.varint();
    return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
  }

  skip(count: number): void {
    this.#take(count);
  }

  /** A view, not a copy. */
  raw(count: number): Buffer {
    const start = this.#take(count);
    return this.#buffer.subarray(start, start + count);
  }

  sized(limit: number): Buffer {
    const length = this.varint();
    if (length > limit) this.fail('a length is beyond its limit');
    return this.raw(length);
  }

  /** Everything that is left. */
  rest(limit: number): Buffer {
    const left = this.#buffer.length - this.#at;
    if (left > limit) this.fail('a value is beyond its limit');
    return this.raw(left);
  }

  /** A reader of the next `count` bytes, which this one skips. */
  section(count: number): ByteReader {
    return new ByteReader(this.raw(count), this.#what);
  }

  #take(count: number): number {
    const start = this.#at;
    if (count < 0 || count > this.#buffer.length - start) this.#endsEarly();
    this.#at = start + count;
    return start;
  }

  #endsEarly(): never {
    this.fail('it ends too early');
  }
}
