/**
 * Run as a process of its own, `write` or `read` a volume of so many MiB of blocks that compress to two thirds in a repository at DIRECTORY. Prints
 * as JSON: blocks, packs, and peak memory.
 */
import { createCipheriv } from 'node:crypto';
import { peakMemoryBytes } from '../../core/src/mover/peak-memory.ts';
import { LIMITS, type BlobId } from '../../core/src/repository/format/blob.ts';
import { encodeNode, decodeNode } from '../../core/src/repository/format/node.ts';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import { FileStore } from '../../core/src/store/file.ts';

const BLOCK = 128 << 10;
const unlock = Buffer.alloc(32, 7);
const [verb, directory, mebibytes] = process.argv.slice(2) as [string, string, string];
const blocks = (Number(mebibytes) * 2 ** 20) / BLOCK;
const store = new FileStore(directory);

/** The content of block `i`. */
function block(i: number): Buffer {
  const counter = Buffer.alloc(16);
  counter.writeUInt32BE(i);
  const bytes = createCipheriv('aes-256-ctr', Buffer.alloc(32, 1), counter).update(zeros);
  for (let at = 0; at < BLOCK; at += 64) bytes.fill(0, at, at + 24);
  return bytes;
}
const zeros = Buffer.alloc(BLOCK);

async function write(): Promise<void> {
  const repository = await createRepository(store, unlock);
  const root = await repository.write(async (writer) => {
    const references: BlobId[] = [];
    for (let i = 0; i < blocks; i++) references.push((await writer.put('data', block(i))).id);
    return writer.put('node', encodeNode({ type: 4, references, payload: Buffer.alloc(0) }));
  });
  await repository.runs.put('memory', 'root', root.id);
  report(blocks, repository.stats().packs);
}

async function read(): Promise<void> {
  const repository = await openRepository(store, unlock);
  const root = (await repository.runs.get('memory', 'root')) as BlobId;
  const { references } = decodeNode(await repository.read(root), root);
  let count = 0;
  await repository.readMany(references, async (i, data) => {
    await Promise.resolve();
    if (!block(i).equals(data)) throw new Error(`block ${i} differs`);
    count++;
  });
  report(count, repository.stats().packs);
}

function report(count: number, packs: number): void {
  console.log(JSON.stringify({ blocks: count, packs, peakMiB: Math.ceil(peakMemoryBytes() / 2 ** 20) }));
}

if (blocks * 24 > LIMITS.blob) throw new Error('too many blocks for one node');
await (verb === 'write' ? write() : read());
