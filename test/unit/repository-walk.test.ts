import assert from 'node:assert/strict';
import { blobIdAt, type BlobId } from '../../core/src/repository/format/blob.ts';
import { encodeNode, NODE_TYPE } from '../../core/src/repository/format/node.ts';
import { walk, type Visitor } from '../../core/src/repository/collection/walk.ts';
import { chooser } from '../support/interleaving.ts';

const idOf = (n: number): BlobId => {
  const id = Buffer.alloc(24, 0xaa);
  id.writeUInt32BE(n);
  return id.toString('hex') as BlobId;
};

/** Blobs that refer to others; those that refer to none are data. */
class Graph {
  readonly below = new Map<BlobId, readonly BlobId[]>();
  /** In the order in which they were asked for. */
  readonly visited: { readonly id: BlobId; readonly by: number }[] = [];
  readonly read: BlobId[] = [];
  readonly largest = { visit: 0, read: 0 };
  readonly #seen = new Set<BlobId>();

  visitor(): Visitor {
    return {
      follow: (ids, at) => {
        const id = blobIdAt(ids, at);
        if (this.#seen.has(id)) return false;
        this.#seen.add(id);
        return true;
      },
      visit: async (ids, by) => {
        this.largest.visit = Math.max(this.largest.visit, ids.length);
        await Promise.resolve();
        ids.forEach((id, i) => this.visited.push({ id, by: by[i]! }));
        return ids.flatMap((id, i) => ((this.below.get(id) ?? []).length > 0 ? i : []));
      },
      read: async (nodes, deliver) => {
        this.largest.read = Math.max(this.largest.read, nodes.length);
        for (const [i, id] of nodes.entries()) {
          this.read.push(id);
          const node = encodeNode({ type: NODE_TYPE.index, references: this.below.get(id)!, payload: Buffer.alloc(0) });
          await deliver(i, node);
          node.fill(0); // it was lent
        }
      },
    };
  }

  reachable(roots: Iterable<BlobId>): Set<BlobId> {
    const found = new Set<BlobId>();
    const stack = [...roots];
    for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
      if (found.has(id)) continue;
      found.add(id);
      stack.push(...(this.below.get(id) ?? []));
    }
    return found;
  }
}

describe('a walk', () => {
  for (const seed of [1, 2, 3, 4]) {
    it(`reaches what there is to reach, each once, whatever refers to what (${seed})`, async () => {
      const choose = chooser(seed);
      const graph = new Graph();
      for (let n = 0; n < 3000; n++)
        graph.below.set(idOf(n), choose(3) === 0 ? [] : Array.from({ length: choose(6) }, () => idOf(choose(Math.max(n, 1)))));
      const groups = Array.from({ length: choose(40) + 1 }, () => Array.from({ length: choose(3) }, () => idOf(choose(3000))));
      await walk(
        groups.map((ids) => ids.join('')),
        graph.visitor(),
      );
      const expected = graph.reachable(groups.flat());
      assert.deepEqual(graph.visited.map(({ id }) => id).sort(), [...expected].sort());
      assert.deepEqual([...graph.read].sort(), [...expected].filter((id) => graph.below.get(id)!.length > 0).sort());
      for (const { id, by } of graph.visited) assert.ok(graph.reachable(groups[by]!).has(id), 'it says from which group');
    });
  }

  it('begins with one group, then with two, four and so on, when what came before is done', async () => {
    const graph = new Graph();
    const groups = Array.from({ length: 20 }, (_, n) => {
      graph.below.set(idOf(n), [idOf(1000 + n)]);
      return idOf(n);
    });
    await walk(groups, graph.visitor());
    const order = graph.visited.map(({ by }) => by);
    assert.deepEqual(
      order,
      [[0], [0], [1, 2], [1, 2], [3, 4, 5, 6], [3, 4, 5, 6], [7, 8, 9, 10, 11, 12, 13, 14], [7, 8, 9, 10, 11, 12, 13, 14], [15, 16, 17, 18, 19], [15, 16, 17, 18, 19]].flat(), // prettier-ignore
    );
  });

  it('goes deep before it goes wide, in pieces of bounded size', async () => {
    const graph = new Graph();
    const width = 200;
    const root = idOf(0);
    const leaves = (n: number) => Array.from({ length: width }, (_, i) => idOf(10_000 + n * width + i));
    const middle = Array.from({ length: width }, (_, n) => idOf(1 + n));
    graph.below.set(root, middle);
    middle.forEach((id, n) => graph.below.set(id, leaves(n)));
    await walk([root], graph.visitor());
    assert.equal(graph.visited.length, 1 + width + width * width);
    assert.ok(graph.largest.visit >= 1 << 15 && graph.largest.visit < (1 << 15) + width, `${graph.largest.visit} at once`);
  });

  it('holds any number of nodes that wait, and reads thousands at once', async () => {
    const graph = new Graph();
    const count = 40_000;
    const nodes = Array.from({ length: count }, (_, n) => idOf(1 + n));
    graph.below.set(idOf(0), nodes);
    nodes.forEach((id, n) => graph.below.set(id, [idOf(100_000 + n)]));
    await walk([idOf(9_999_999), idOf(0)], graph.visitor());
    assert.equal(graph.visited.length, 2 + 2 * count);
    assert.ok(
      graph.visited.slice(1).every(({ by }) => by === 1),
      'each with the group from which it was reached',
    );
    assert.equal(new Set(graph.read).size, count + 1);
    assert.equal(graph.largest.read, 1 << 14);
  });

  it('follows all references of nodes that have more than there is room for', async () => {
    // Of what waits when the larger comes, nothing is lost, whichever is read first.
    for (const sizes of [
      [30_000, 40_000],
      [40_000, 30_000],
    ] as const) {
      const graph = new Graph();
      graph.below.set(idOf(0), [idOf(1), idOf(2)]);
      sizes.forEach((count, i) => {
        graph.below.set(
          idOf(1 + i),
          Array.from({ length: count }, (_, n) => idOf(100_000 * (1 + i) + n)),
        );
      });
      await walk([idOf(0)], graph.visitor());
      const expected = graph.reachable([idOf(0)]);
      assert.equal(graph.visited.length, expected.size);
      assert.ok(graph.visited.every(({ id }) => expected.has(id)));
    }
  });

  it('of nothing ends', async () => {
    const graph = new Graph();
    await walk([], graph.visitor());
    await walk(['', ''], graph.visitor());
    assert.deepEqual(graph.visited, []);
  });

  it('stops when it is told to, also where everything is near', async () => {
    const graph = new Graph();
    for (let n = 0; n < 10_000; n++) graph.below.set(idOf(n), [idOf(n + 1)]);
    const stop = new AbortController();
    const visitor = graph.visitor();
    const visit = (ids: readonly BlobId[], by: readonly number[]) => {
      if (graph.visited.length === 50) stop.abort();
      return visitor.visit(ids, by);
    };
    await assert.rejects(walk([idOf(0)], { ...visitor, visit }, { signal: stop.signal }), { code: 'CANCELLED' });
    assert.ok(graph.visited.length < 60);
  });
});
