import { promisify } from 'node:util';
import { constants, zstdCompress, zstdCompressSync, zstdDecompress, zstdDecompressSync } from 'node:zlib';
import { damaged } from './damage.ts';

/** How a payload follows the codec byte. */
const CODEC = { stored: 0, zstd: 1 } as const;

/** Levels of zstd. */
const LEVEL = { fast: 1, dense: 3 } as const;
/** What is chosen by a sample of a payload counts for so many, itself included. */
const SAMPLED_EVERY = 8;
const SAMPLE_BYTES = 64 << 10;
/** The dense level costs half as much again: it is to save this much of what the fast one makes. */
const DENSE_SAVING_PERCENT = 3;
/** 16 MiB: what a frame may hold, so no stored value makes a reader take a larger window. */
const MAX_WINDOW_LOG = 24;
/** Below this many bytes saved in a hundred, decompressing costs more than it is worth. */
const MIN_SAVING_PERCENT = 3;
const PROBE_BYTES = 4096;
const PROBES = 4;
/** Smaller payloads are quicker decompressed on the spot than handed to another thread. */
const SYNC_LIMIT = 64 << 10;

const compressAsync = promisify(zstdCompress);
const decompressAsync = promisify(zstdDecompress);

/** A packed payload is these, end to end: a codec byte, and the payload as the codec says. */
export type Packed = readonly [codec: Uint8Array, body: Uint8Array];

/** Compresses on another thread, when that helps. The result may be a view of `payload`. */
export async function packPayload(payload: Uint8Array): Promise<Packed> {
  return looksCompressible(payload) ? smaller(payload, await compressAsync(payload, compression(payload))) : stored(payload);
}

/** Packs one payload after the other on this thread, denser where that pays: text becomes a sixth smaller, pages of a database do not. */
export class PayloadPacker {
  #level: number = LEVEL.fast;
  #untilSample = 0;

  /** The result may be a view of `payload`. */
  pack(payload: Uint8Array): Packed {
    if (!looksCompressible(payload)) return stored(payload);
    if (payload.length >= 2 * SAMPLE_BYTES) {
      if (this.#untilSample === 0) this.#level = levelFor(payload);
      this.#untilSample = (this.#untilSample + 1) % SAMPLED_EVERY;
    }
    return smaller(payload, zstdCompressSync(payload, compression(payload, this.#level)));
  }
}

function levelFor(payload: Uint8Array): number {
  const sample = payload.subarray((payload.length - SAMPLE_BYTES) >> 1, (payload.length + SAMPLE_BYTES) >> 1);
  const isWorthIt = lengthAt(sample, LEVEL.dense) <= lengthAt(sample, LEVEL.fast) * (1 - DENSE_SAVING_PERCENT / 100);
  return isWorthIt ? LEVEL.dense : LEVEL.fast;
}

/** The same for small values, in one piece. */
export function packPayloadSync(payload: Uint8Array): Buffer {
  return Buffer.concat(smaller(payload, zstdCompressSync(payload, compression(payload))));
}

/** The inverse; `key` is for messages, and nothing larger than `limit` bytes is decompressed. */
export async function unpackPayload(packed: Buffer, limit: number, key: string): Promise<Buffer> {
  if (packed.length <= SYNC_LIMIT) return unpackPayloadSync(packed, limit, key);
  const size = sizeOf(packed, limit, key);
  const body = packed.subarray(1);
  if (packed[0] === CODEC.stored) return body;
  return whole(await decompressAsync(body, decompression(size)).catch(notZstd(key)), body, size, key);
}

export function unpackPayloadSync(packed: Buffer, limit: number, key: string): Buffer {
  const size = sizeOf(packed, limit, key);
  const body = packed.subarray(1);
  if (packed[0] === CODEC.stored) return body;
  try {
    return whole(zstdDecompressSync(body, decompression(size)), body, size, key);
  } catch (e) {
    return notZstd(key)(e);
  }
}

function smaller(payload: Uint8Array, compressed: Uint8Array): Packed {
  const isWorthIt = compressed.length <= payload.length * (1 - MIN_SAVING_PERCENT / 100);
  return isWorthIt ? [Uint8Array.of(CODEC.zstd), compressed] : stored(payload);
}

function stored(payload: Uint8Array): Packed {
  return [Uint8Array.of(CODEC.stored), payload];
}

/** Compresses small samples first: most data that does not compress is known by them, at a hundredth of the cost. */
function looksCompressible(payload: Uint8Array): boolean {
  if (payload.length <= PROBES * PROBE_BYTES) return payload.length > 0;
  const step = Math.floor((payload.length - PROBE_BYTES) / (PROBES - 1));
  for (let i = 0; i < PROBES; i++) samples.set(payload.subarray(i * step, i * step + PROBE_BYTES), i * PROBE_BYTES);
  return lengthAt(samples, LEVEL.fast) < samples.length * (1 - MIN_SAVING_PERCENT / 100);
}

/** Used again for each payload, as a new one for each would be garbage faster than it is collected. */
const samples = Buffer.allocUnsafeSlow(PROBES * PROBE_BYTES);

/** What is compressed is given back at once, for the same reason: memory of the size that was asked for is no part of Node's pool. */
function lengthAt(bytes: Uint8Array, level: number): number {
  const options = compression(bytes, level);
  const { buffer, length } = zstdCompressSync(bytes, options);
  if (buffer.byteLength === options.chunkSize) buffer.transfer(0);
  return length;
}

/** `chunkSize` as large as the result: zlib otherwise gathers it from many small buffers. */
function compression(payload: Uint8Array, level: number = LEVEL.fast) {
  return {
    chunkSize: payload.length + (payload.length >> 7) + 1024,
    pledgedSrcSize: payload.length,
    params: { [constants.ZSTD_c_compressionLevel]: level },
  };
}

/** One byte more than the result: of a chunk that is filled, zlib does not know that it was the last, and allocates another. */
function decompression(size: number) {
  return {
    chunkSize: Math.max(size + 1, 64),
    maxOutputLength: Math.max(size, 1),
    info: true,
    params: { [constants.ZSTD_d_windowLogMax]: MAX_WINDOW_LOG },
  };
}

function sizeOf(packed: Uint8Array, limit: number, key: string): number {
  const codec = packed[0];
  if (codec !== CODEC.stored && codec !== CODEC.zstd) throw damaged(key, 'it is packed in a way that this format does not have');
  const size = codec === CODEC.stored ? packed.length - 1 : contentSize(packed.subarray(1));
  if (size === undefined) throw damaged(key, 'it does not say how large it is when decompressed');
  if (size > limit) throw damaged(key, `it says it is ${size} bytes when decompressed, and ${limit} is the most there may be`);
  return size;
}

/** What zlib gives when asked for `info`, which the types of Node do not know. */
interface Decompressed {
  readonly buffer: Buffer;
  /** `bytesWritten`: to it, which is what it has read of the body. */
  readonly engine: { readonly bytesWritten: number };
}

function whole(result: unknown, body: Buffer, size: number, key: string): Buffer {
  const { buffer, engine } = result as Decompressed;
  if (buffer.length !== size || engine.bytesWritten !== body.length) throw damaged(key, 'it is not as large as it says when decompressed');
  return buffer;
}

function notZstd(key: string): (e: unknown) => never {
  return (e) => {
    throw damaged(key, 'it does not decompress', e);
  };
}

/** The content size that a zstd frame declares (RFC 8878, 3.1.1.1). */
function contentSize(frame: Uint8Array): number | undefined {
  const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.length);
  if (bytes.length < 6 || bytes.readUInt32LE(0) !== 0xfd2fb528) return undefined;
  const descriptor = bytes.readUInt8(4);
  const singleSegment = (descriptor >> 5) & 1;
  const dictionaryIdBytes = [0, 1, 2, 4][descriptor & 3] as number;
  const sizeBytes = [singleSegment, 2, 4, 8][descriptor >> 6] as number;
  const at = 5 + (1 - singleSegment) + dictionaryIdBytes;
  if (sizeBytes === 0 || bytes.length < at + sizeBytes) return undefined;
  if (sizeBytes === 8) return Number(bytes.readBigUInt64LE(at));
  return bytes.readUIntLE(at, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
}
