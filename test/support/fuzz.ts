import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { DmaasError } from '../../core/src/errors.ts';
import { REFUSALS, type Decoder } from './decoders.ts';
import { chooser, type Choose } from './interleaving.ts';
import { addCases } from './cases.ts';

const CORPUS = join(import.meta.dirname, '../corpus/decoders.json');
/** What one input may take, of the processor; decoders are linear, and inputs small. */
const LIMIT_MS = 2000;
const LIMIT_BYTES = 256 << 20;
const MAX_INPUT = 1 << 16;
/** Of a refusal, so many calls up tell it from others. */
const FRAMES = 3;
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

/** Inputs that once gave an answer that none before had given, by decoder, in base64. */
export type Corpus = Record<string, string[]>;

export function readCorpus(): Corpus {
  return existsSync(CORPUS) ? (JSON.parse(readFileSync(CORPUS, 'utf8')) as Corpus) : {};
}

export function writeCorpus(corpus: Corpus): void {
  writeFileSync(CORPUS, `${JSON.stringify(corpus, undefined, 2)}\n`);
}

/**
 * Gives a decoder `runs` inputs that come of valid and of interesting ones by a few changes. Each is decoded, and then gives the same when it is encoded and decoded again, or is refused by one of our errors; in little time
 * and memory. Returns inputs whose answers are new.
 */
export async function fuzz(
  decoder: Decoder,
  corpus: readonly Buffer[],
  opts: { readonly runs: number; readonly seed: number },
): Promise<Buffer<ArrayBuffer>[]> {
  addCases(opts.runs);
  const choose = chooser(opts.seed);
  const answers = new Set<string>();
  const pool = [...decoder.seeds, ...corpus];
  for (const input of pool) answers.add(await answerTo(decoder, input));
  for (const input of decoder.seeds) assert.equal(await answerTo(decoder, input), 'decoded', `${decoder.name}: a valid input`);
  const found: Buffer<ArrayBuffer>[] = [];
  for (let run = 0; run < opts.runs; run++) {
    const input = mutate(pool[choose(pool.length)]!, pool, choose);
    const answer = await answerTo(decoder, input);
    if (answers.has(answer)) continue;
    answers.add(answer);
    pool.push(input);
    found.push(input);
  }
  return found;
}

/** `decoded`, or the code of its refusal and where that came from. Fails when it is anything else. */
export async function answerTo(decoder: Decoder, input: Buffer): Promise<string> {
  const before = process.memoryUsage().arrayBuffers;
  const began = process.cpuUsage();
  const show = () => `${decoder.name}: ${input.toString('base64')}`;
  let answer = 'decoded';
  try {
    const value = await decoder.decode(Buffer.from(input));
    if (decoder.encode !== undefined) {
      // Bytes are compared, not values: to JavaScript -0 is another number than 0, and to JSON it is not.
      const encoded = decoder.encode(value as never);
      const again = await decoder.decode(Buffer.from(encoded));
      assert.ok(decoder.encode(again as never).equals(encoded), `${show()} is another thing when it is encoded again`);
    }
  } catch (e) {
    if (e instanceof assert.AssertionError) throw e;
    assert.ok(DmaasError.is(e) && REFUSALS.has(e.code), `${show()} gives ${inspect(e)}`);
    // Where it was refused: messages quote what is in the input.
    const frames = (e.stack ?? '').split('\n').filter((line) => line.includes('/core/src/') && !line.includes('/core/src/errors.ts'));
    answer = [e.code, ...frames.slice(0, FRAMES).map((line) => line.replace(/^.*\/core\/src\//, '').replace(/\)$/, ''))].join(' ');
  }
  const { user, system } = process.cpuUsage(began);
  assert.ok(user + system < LIMIT_MS * 1000, `${show()} takes ${(user + system) / 1000} ms`);
  assert.ok(process.memoryUsage().arrayBuffers - before < LIMIT_BYTES, `${show()} takes too much memory`);
  return answer;
}

function mutate(input: Buffer, pool: readonly Buffer[], choose: Choose): Buffer<ArrayBuffer> {
  let bytes = Buffer.from(input);
  for (let n = 1 + choose(4); n > 0; n--) bytes = mutateOnce(bytes, pool, choose);
  return bytes.subarray(0, MAX_INPUT);
}

function mutateOnce(bytes: Buffer, pool: readonly Buffer[], choose: Choose): Buffer<ArrayBuffer> {
  const at = choose(bytes.length + 1);
  const length = choose(Math.min(bytes.length - at, 32) + 1);
  const other = pool[choose(pool.length)]!;
  const changed = Buffer.from(bytes);
  switch (choose(8)) {
    case 0:
      if (at < bytes.length) changed[at]! ^= 1 << choose(8);
      return changed;
    case 1:
      if (at < bytes.length) changed[at] = choose(256);
      return changed;
    case 2:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at)]);
    case 4:
      return changed.subarray(0, at);
    case 5:
      return Buffer.concat([bytes.subarray(0, at), other.subarray(choose(other.length + 1))]);
    case 6:
      return Buffer.concat([
        bytes.subarray(0, at),
        Buffer.from(Array.from({ length: 1 + choose(8) }, () => choose(256))),
        bytes.subarray(at),
      ]);
    default:
      if (at + 4 <= bytes.length) changed.writeUInt32LE(INTERESTING[choose(INTERESTING.length)]!, at);
      return changed;
  }
}
