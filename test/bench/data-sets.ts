/**
 * The data that is backed up, made from a seed: the same seed and scale give the same bytes everywhere.
 *
 * A: 8 files of 256 MiB that do not compress. B: 4 tables of 512 MiB in pages of 16 KiB, about 3 times compressible, no two
 * alike. C: 100 000 text files of 1 to 20 KiB in 1000 directories. D: a sparse file of 8 GiB with 512 MiB of data. E: 1.5 GiB
 * of files of all sizes, 30 % of it duplicates, of which a third are shifted by an insertion.
 */
import { createCipheriv } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const SET_NAMES = ['A', 'B', 'C', 'D', 'E'] as const;
export type SetName = (typeof SET_NAMES)[number];

export interface DataSet {
  readonly name: SetName;
  readonly files: number;
  /** Sum of the sizes of all files. */
  readonly bytes: number;
  /** Path of one file that is restored alone. */
  readonly oneFile: string;
  /** Puts 1 % of it at a version: pages of B, files of C. Version 0 is what it was made as. */
  readonly change?: (version: number) => void;
}

export interface DataOptions {
  readonly dir: string;
  readonly seed: number;
  /** 1 for the sizes above. */
  readonly scale: number;
}

const KiB = 1024;
const MiB = 1024 * KiB;
const PAGE = 16 * KiB;
const POOL_BYTES = 4 * MiB;
const SHARE_CHANGED = 0.01;

const MAKERS: Readonly<Record<SetName, (source: Source, options: DataOptions) => Omit<DataSet, 'name'>>> = {
  A: makeRandom,
  B: makeTables,
  C: makeSmallFiles,
  D: makeSparse,
  E: makeMixed,
};

export function makeDataSet(name: SetName, options: DataOptions): DataSet {
  mkdirSync(options.dir, { recursive: true });
  return { name, ...MAKERS[name](new Source(name, options.seed), options) };
}

/** Numbers from 0 to 1 (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const below = (random: () => number, limit: number): number => Math.floor(random() * limit);

/** Bytes of a set: each piece is named by numbers, and does not depend on what was made before it. */
class Source {
  readonly seed: number;
  readonly #key = Buffer.alloc(16);
  #pool: Buffer | undefined;

  constructor(set: SetName, seed: number) {
    this.seed = seed;
    this.#key.write('bench');
    this.#key.writeUInt32BE(seed, 8);
    this.#key.write(set, 15);
  }

  /** Gives the next bytes, which do not compress, of the stream of that name. */
  noise(a: number, b = 0): (bytes: number) => Buffer {
    const counter = Buffer.alloc(16);
    counter.writeUInt32BE(a, 0);
    counter.writeUInt32BE(b, 4);
    const cipher = createCipheriv('aes-128-ctr', this.#key, counter);
    return (bytes) => cipher.update(Buffer.alloc(bytes));
  }

  /** Text like English with numbers in it, about 2 to 3 times compressible. */
  text(bytes: number, item: number, version: number): Buffer {
    const random = numbers((item * 2654435761) ^ (version * 40503) ^ this.seed);
    const text = Buffer.allocUnsafe(bytes);
    let at = text.write(`# item ${item} version ${version}\n`, 0, bytes, 'latin1');
    while (at < bytes) {
      const length = Math.min(bytes - at, 60 + below(random, 200));
      const from = below(random, POOL_BYTES - length);
      at += this.pool.copy(text, at, from, from + length);
    }
    return text;
  }

  get pool(): Buffer {
    return (this.#pool ??= textPool(this.seed * 7919 + 17));
  }
}

function textPool(seed: number): Buffer {
  const syllables = 'ba ce di fo gu ka le mi no pu ra se ti vo za er in on al st'.split(' ');
  const random = numbers(seed);
  const words = Array.from({ length: 4096 }, () =>
    Array.from({ length: 1 + below(random, 4) }, () => syllables[below(random, syllables.length)]).join(''),
  );
  const lines: string[] = [];
  for (let length = 0; length < POOL_BYTES; length += lines.at(-1)!.length) {
    const line = Array.from({ length: 6 + below(random, 10) }, () => {
      const z = random();
      return z < 0.12 ? String(below(random, 1e6)) : words[Math.floor(4096 * z * z)];
    });
    lines.push(`${line.join(' ')}\n`);
  }
  return Buffer.from(lines.join('').slice(0, POOL_BYTES), 'latin1');
}

/** Writes all of it: a call of the operating system may write less. */
function writeAll(fd: number, bytes: Buffer, position: number): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
}

function withFile(path: string, flags: string, use: (fd: number) => void): void {
  const fd = openSync(path, flags);
  try {
    use(fd);
  } finally {
    closeSync(fd);
  }
}

function makeRandom(source: Source, { dir, scale }: DataOptions): Omit<DataSet, 'name'> {
  const files = 8;
  const size = Math.round(256 * MiB * scale);
  for (let file = 0; file < files; file++) {
    const noise = source.noise(file);
    withFile(join(dir, `blob-${file}.bin`), 'w', (fd) => {
      for (let at = 0; at < size; at += MiB) writeAll(fd, noise(Math.min(MiB, size - at)), at);
    });
  }
  return { files, bytes: files * size, oneFile: 'blob-3.bin' };
}

/** 116 rows of 128 bytes, each with 40 bytes of noise. */
function page(source: Source, file: number, number: number, version: number): Buffer {
  const [rows, noiseBytes, rowBytes] = [116, 40, 128];
  const bytes = Buffer.alloc(PAGE);
  for (const [i, value] of [0x50414745, file, number, version].entries()) bytes.writeUInt32BE(value, 4 * i);
  const noise = source.noise(file * 65536 + version, number)(rows * (noiseBytes + 1));
  noise.copy(bytes, 16, 0, 16);
  for (let row = 0; row < rows; row++) {
    const at = rowBytes * (row + 1);
    bytes.writeUInt32BE(0x0001002a, at);
    bytes.writeUIntBE(number * rows + row, at + 4, 6);
    const template = (noise[rows * noiseBytes + row]! & 63) * 1000;
    source.pool.copy(bytes, at + 12, template, template + 76);
    noise.copy(bytes, at + 88, row * noiseBytes, (row + 1) * noiseBytes);
  }
  return bytes;
}

function makeTables(source: Source, { dir, scale, seed }: DataOptions): Omit<DataSet, 'name'> {
  const files = 4;
  const pages = Math.round((512 * MiB * scale) / PAGE);
  const path = (file: number) => join(dir, `table-${file}.db`);
  for (let file = 0; file < files; file++) {
    withFile(path(file), 'w', (fd) => {
      for (let number = 0; number < pages; number++) writeAll(fd, page(source, file, number, 0), number * PAGE);
    });
  }
  const change = (version: number): void => {
    for (const chosen of choose(files * pages, seed)) {
      const [file, number] = [Math.floor(chosen / pages), chosen % pages];
      withFile(path(file), 'r+', (fd) => {
        writeAll(fd, page(source, file, number, version), number * PAGE);
      });
    }
  };
  return { files, bytes: files * pages * PAGE, oneFile: 'table-2.db', change };
}

/** The same 1 % for every version, so that version 0 puts all of it back. */
function choose(count: number, seed: number): Set<number> {
  const random = numbers(seed * 104729 + 5);
  const chosen = new Set<number>();
  while (chosen.size < Math.max(1, Math.round(count * SHARE_CHANGED))) chosen.add(below(random, count));
  return chosen;
}

function makeSmallFiles(source: Source, { dir, scale, seed }: DataOptions): Omit<DataSet, 'name'> {
  const files = Math.max(10, Math.round(100_000 * scale));
  const nameOf = (i: number): string => {
    const d = i % 1000;
    const folders = [`d${d % 5}`, `e${Math.floor(d / 5) % 5}`, `f${Math.floor(d / 25) % 8}`, `g${Math.floor(d / 200)}`];
    return join(...folders, `note-${String(i).padStart(6, '0')}.txt`);
  };
  const write = (i: number, version: number): number => {
    const size = KiB + below(numbers(i * 31 + seed), 19 * KiB + 1);
    writeFileSync(join(dir, nameOf(i)), source.text(size, i, version));
    return size;
  };
  let bytes = 0;
  for (let i = 0; i < files; i++) {
    if (i < 1000) mkdirSync(dirname(join(dir, nameOf(i))), { recursive: true });
    bytes += write(i, 0);
  }
  const change = (version: number): void => {
    for (const i of choose(files, seed)) write(i, version);
  };
  return { files, bytes, oneFile: nameOf(Math.floor(files / 2)), change };
}

function makeSparse(source: Source, { dir, scale, seed }: DataOptions): Omit<DataSet, 'name'> {
  const size = Math.round(8 * 1024 * MiB * scale);
  const extents = Math.max(1, Math.round(512 * scale));
  const slot = Math.floor(size / extents);
  const random = numbers(seed + 99);
  const aligned = (offset: number): number => Math.floor(offset / 65536) * 65536;
  withFile(join(dir, 'disk.img'), 'w', (fd) => {
    ftruncateSync(fd, size);
    for (let i = 0; i < extents; i++) writeAll(fd, source.noise(i)(MiB), aligned(i * slot) + aligned(below(random, slot - MiB)));
  });
  return { files: 1, bytes: size, oneFile: 'disk.img' };
}

function makeMixed(source: Source, { dir, scale, seed }: DataOptions): Omit<DataSet, 'name'> {
  const KINDS = [
    { folder: 'big', size: 16 * MiB, count: Math.max(1, Math.round(32 * scale)) },
    { folder: 'mid', size: 256 * KiB, count: Math.max(1, Math.round(1024 * scale)) },
    { folder: 'small', size: 24 * KiB, count: Math.max(1, Math.round(13_000 * scale)) },
  ];
  for (const folder of ['big', 'mid', 'small', 'copy', 'shifted']) mkdirSync(join(dir, folder));
  let [files, bytes] = [0, 0];
  const put = (path: string, content: Buffer): void => {
    writeFileSync(join(dir, path), content);
    files += 1;
    bytes += content.length;
  };
  const items = KINDS.flatMap(({ folder, size, count }) => Array.from({ length: count }, (_, i) => ({ folder, size, i })));
  const make = (at: number): Buffer => (at % 2 === 1 ? source.text(items[at]!.size, at, 0) : source.noise(at)(items[at]!.size));
  items.forEach(({ folder, i }, at) => {
    put(join(folder, `i${i}.dat`), make(at));
  });
  const [big, mid] = [KINDS[0]!.count, KINDS[1]!.count];
  const random = numbers(seed + 5);
  const duplicates = (bytes * 0.3) / 0.7;
  let number = 0;
  for (let left = (duplicates * 2) / 3; left > 0; number++) {
    const content = make(random() < 0.02 ? below(random, big) : big + below(random, items.length - big));
    put(join('copy', `c${number}.dat`), content);
    left -= content.length;
  }
  for (let left = duplicates / 3; left > 0; number++) {
    const content = make(random() < 0.5 ? below(random, big) : big + below(random, mid));
    const at = below(random, content.length);
    const inserted = source.text(1 + below(random, 5000), 900_000 + number, 0);
    put(join('shifted', `s${number}.dat`), Buffer.concat([content.subarray(0, at), inserted, content.subarray(at)]));
    left -= content.length;
  }
  return { files, bytes, oneFile: 'mid/i0.dat' };
}
