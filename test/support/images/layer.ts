import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { pack as makePack } from 'tar-stream';
import { cached, digest } from '../setup/cache.ts';

/** What a path of an image's file system is. Everything belongs to root and has no time. */
export type Entry =
  | { readonly type: 'file'; readonly content: Uint8Array | { readonly file: string }; readonly mode?: number }
  | { readonly type: 'directory'; readonly mode?: number }
  | { readonly type: 'symlink'; readonly target: string };

/** Absolute paths and what is there; parent directories may be left out. */
export type Tree = ReadonlyMap<string, Entry>;

/** An uncompressed tar archive in the cache. */
export interface Layer {
  readonly file: string;
  /** `sha256:…` of the file. */
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
}

function withParents(tree: Tree): [string, Entry][] {
  const entries = new Map(tree);
  for (const path of tree.keys()) {
    for (let parent = dirname(path); parent !== '/'; parent = dirname(parent)) {
      if (!entries.has(parent)) entries.set(parent, { type: 'directory' });
    }
  }
  return [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
}

async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

async function stampOf(entries: readonly [string, Entry][]): Promise<string> {
  const parts: string[] = [];
  for (const [path, entry] of entries) {
    const { content, ...rest } = { content: undefined, ...entry };
    const sum = content === undefined ? '' : content instanceof Uint8Array ? digest(content) : await hashFile(content.file);
    parts.push(JSON.stringify([path, rest, sum]));
  }
  return digest(...parts);
}

async function writeTar(entries: readonly [string, Entry][], file: string): Promise<void> {
  const pack = makePack();
  const written = pipeline(pack, createWriteStream(file));
  for (const [path, entry] of entries) {
    const common = { name: path.slice(1), mtime: new Date(0), uid: 0, gid: 0, type: entry.type } as const;
    if (entry.type === 'symlink') pack.entry({ ...common, mode: 0o777, linkname: entry.target });
    else if (entry.type === 'directory') pack.entry({ ...common, mode: entry.mode ?? 0o755 });
    else if (entry.content instanceof Uint8Array) pack.entry({ ...common, mode: entry.mode ?? 0o644 }, Buffer.from(entry.content));
    else {
      const source = entry.content.file;
      const { size } = await stat(source);
      await pipeline(createReadStream(source), pack.entry({ ...common, mode: entry.mode ?? 0o644, size }));
    }
  }
  pack.finalize();
  await written;
}

/** The layer that `write` writes as a tar archive to the given path, written once for each stamp. */
export async function cachedLayer(name: string, stamp: string, write: (file: string) => Promise<void>): Promise<Layer> {
  const dir = await cached(`layer-${name}`, stamp, async (target) => {
    const file = join(target, 'layer.tar');
    await write(file);
    await writeFile(join(target, 'digest'), `sha256:${await hashFile(file)}`);
  });
  const file = join(dir, 'layer.tar');
  return { file, digest: await readFile(join(dir, 'digest'), 'utf8'), size: (await stat(file)).size };
}

/** A layer with these files. The same tree gives the same bytes, on any machine. */
export async function makeLayer(name: string, tree: Tree): Promise<Layer> {
  const entries = withParents(tree);
  return cachedLayer(name, await stampOf(entries), (file) => writeTar(entries, file));
}
