import assert from 'node:assert/strict';
import { appendFileSync, chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { populateVolume } from '../../core/src/mover/populate.ts';
import { newOperationId } from '../../core/src/operation.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import type { Repository } from '../../core/src/repository/repository.ts';
import { hex, memoryRepository, recorder, scratch, settled, TreeOracle, type SpecEntry } from '../support/volume.ts';

const isName = (name: string): boolean => !['', '2e', '2e2e'].includes(name) && !/^(..)*(00|2f)/.test(name);
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const name = fc
  .oneof(
    { weight: 6, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 12 }) },
    {
      weight: 2,
      arbitrary: fc.constantFrom('a', 'a!', 'a\x01', '-rf', '...', '\n', '\u00e9', 'e\u0301', '\x1b[31m').map((s) => Buffer.from(s)),
    },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 255, maxLength: 255 }) },
  )
  .map(toHex)
  .filter(isName);

const KiB = 1024;
const piece = fc.oneof(
  fc.tuple(fc.constantFrom(1, 100, 4096, 5000, 64 * KiB, 300 * KiB, 1100 * KiB), fc.integer({ min: 0, max: 5 })),
  fc.tuple(fc.constantFrom(4096, 5000, 128 * KiB, 600 * KiB)),
);
/** The version of ACLs in extended attributes, and entries: owner, user 7, group, mask, others. */
const ACL = '0200000001000700ffffffff020005000700000004000500ffffffff10000500ffffffff20000000ffffffff';
const xattrs = fc.dictionary(
  fc.constantFrom('user.a', 'user.\u00fc', 'trusted.b', 'user.empty').map(hex),
  fc.uint8Array({ maxLength: 300 }).map(toHex),
  { maxKeys: 2 },
);
const attributes = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.constantFrom(0, 7, 1000, 70_000, 4_000_000_000),
  gid: fc.constantFrom(0, 8, 1000, 70_001),
  mtimeNs: fc.bigInt({ min: -2_000_000_000_000_000_000n, max: 9_000_000_000_000_000_000n }).map(String),
});

type Node = Omit<SpecEntry, 'path'> & { readonly children?: Readonly<Record<string, Node>> };

const { node } = fc.letrec<{ node: Node; directory: Node }>((tie) => ({
  node: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.record({ type: fc.constant('file'), content: fc.array(piece, { maxLength: 4 }), xattrs }).chain((made) =>
      fc.record({ attributes, acl: fc.boolean() }).map(({ attributes, acl }) => ({
        ...attributes,
        ...made,
        ...(acl ? { mode: 0o750, xattrs: { ...made.xattrs, [hex('system.posix_acl_access')]: ACL } } : {}),
      })),
    ),
    tie('directory'),
    fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), attributes).map(([target, rest]) => ({
      ...rest,
      type: 'symlink',
      target: toHex(target).replaceAll('00', '41'),
    })),
    fc.tuple(fc.constantFrom('fifo', 'socket'), attributes).map(([type, rest]) => ({ ...rest, type })),
    fc.tuple(fc.constantFrom('character-device', 'block-device'), attributes).map(([type, rest]) => ({
      ...rest,
      type,
      device: [4095, 1_048_575] as const,
    })),
  ),
  directory: fc.tuple(fc.dictionary(name, tie('node'), { maxKeys: 6 }), attributes, xattrs).map(([children, rest, kept]) => ({
    ...rest,
    type: 'directory',
    xattrs: kept,
    children,
  })),
}));

function flatten({ children, ...entry }: Node, path: readonly string[]): SpecEntry[] {
  return [{ ...entry, path }, ...Object.entries(children ?? {}).flatMap(([child, below]) => flatten(below, [...path, child]))];
}

/** A tree, some of whose files have further names in the root. */
const tree = fc
  .tuple(fc.dictionary(name, node, { maxKeys: 6 }), attributes, fc.array(fc.nat(), { maxLength: 3 }))
  .map(([children, rest, picks]) => {
    const spec = flatten({ ...rest, type: 'directory', children }, []);
    const targets = spec.filter(({ type }) => type !== 'directory');
    const links = picks.flatMap((pick, i): SpecEntry[] => {
      const target = targets[pick % Math.max(targets.length, 1)];
      return target === undefined ? [] : [{ ...target, path: [hex(`hard link ${i}`)], link: target.path }];
    });
    return [...spec, ...links];
  });

const volume = { name: 'data', mode: 'filesystem' } as const;

async function capture(repository: Repository, path: string, parent?: BlobId): Promise<BlobId> {
  const options = { ...volume, path, repository, now: settled };
  const { root, findings } = await captureVolume(parent === undefined ? options : { ...options, parent }, recorder());
  assert.deepEqual(findings, []);
  return root;
}

describe('what is captured and populated', () => {
  let oracle: TreeOracle;
  before(() => {
    oracle = new TreeOracle();
  });
  after(() => {
    oracle.stop();
  });

  it('F3, F5, H1: is the same tree, to the last attribute', async () => {
    await fc.assert(
      fc.asyncProperty(tree, async (spec) => {
        const dir = scratch();
        try {
          const [source, target] = [join(dir.path, 'source'), join(dir.path, 'target')];
          mkdirSync(source);
          mkdirSync(target);
          await oracle.build(source, spec);
          const repository = await memoryRepository();
          const root = await capture(repository, source);
          const options = { ...volume, path: target, repository, root, operation: newOperationId(), allowDevices: true };
          const { findings, entries } = await populateVolume(options, recorder());
          assert.deepEqual(findings, []);
          assert.equal(entries, spec.length);
          assert.deepEqual(await oracle.describe(target), await oracle.describe(source));
        } finally {
          dir.rm();
        }
      }),
      { numRuns: 60, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: false },
    );
  });

  it('H1: is the same whether it is compared with the backup before or not', async () => {
    await fc.assert(
      fc.asyncProperty(
        tree,
        fc.array(fc.tuple(fc.constantFrom('append', 'rewrite', 'remove', 'chmod', 'add'), fc.nat()), { minLength: 1, maxLength: 6 }),
        async (spec, edits) => {
          const dir = scratch();
          try {
            await oracle.build(
              dir.path,
              spec.filter(({ content = [] }) => content.every(([length]) => length! < 400 * KiB)).filter(hasParents),
            );
            const repository = await memoryRepository();
            const before = await capture(repository, dir.path);
            const files = (await oracle.describe(dir.path)).filter(({ type }) => type === 'file');
            edits.forEach(([edit, pick], i) => {
              editTree(dir.path, files[pick % Math.max(files.length, 1)]?.['path'] as string[] | undefined, edit, pick, i);
            });
            const compared = await capture(repository, dir.path, before);
            assert.equal(compared, await capture(repository, dir.path));
          } finally {
            dir.rm();
          }
        },
      ),
      { numRuns: 40, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: false },
    );
  });
});

/** Hard links whose file was filtered out go too. */
function hasParents(entry: SpecEntry, _i: number, all: readonly SpecEntry[]): boolean {
  return entry.link === undefined || all.some(({ path }) => path.join('/') === entry.link?.join('/'));
}

function editTree(root: string, file: readonly string[] | undefined, edit: string, pick: number, i: number): void {
  const names = (file ?? [hex('new')]).flatMap((name) => [Buffer.from('/'), Buffer.from(name, 'hex')]);
  const path = Buffer.concat([Buffer.from(root), ...names]);
  if (edit === 'append') appendFileSync(path, `more ${i}`);
  else if (edit === 'rewrite') writeFileSync(path, Buffer.alloc(pick % 100_000, i));
  else if (edit === 'remove') rmSync(path, { force: true });
  else if (edit === 'chmod' && existsSync(path)) chmodSync(path, pick & 0o7777);
  else writeFileSync(join(root, `added ${i}`), 'new');
}
