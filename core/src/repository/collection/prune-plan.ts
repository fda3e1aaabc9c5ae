import type { BlobKind } from '../format/blob.ts';

/** Of what lies in a pack, before compression: what backups need and no other pack keeps, and the rest. */
export interface PackUse {
  readonly liveBytes: number;
  readonly deadBytes: number;
  /** How many these live bytes are. */
  readonly liveBlobs: number;
}

/** A pack in the bucket. */
export interface PackFacts {
  readonly id: string;
  readonly size: number;
  /** Undefined when no segment names the pack. */
  readonly kind: BlobKind | undefined;
  readonly use: PackUse | undefined;
  /** Whether nobody can be about to rely on it without our knowing: it is older than the grace and than every living session. */
  readonly isSettled: boolean;
}

export interface PruneFacts {
  readonly packs: readonly PackFacts[];
  /** On the newest list, with the number of the list that first had each. */
  readonly condemned: ReadonlyMap<string, number>;
  /** What lists up to this one have condemned may be deleted now. */
  readonly ripe: number;
  /** Sizes that writers aim at. */
  readonly packBytes: Readonly<Record<BlobKind, number>>;
}

export type Reason = 'unused' | 'no segment names it' | 'rewritten';

/** What a collection does. */
export interface PrunePlan {
  /** Condemned before, and deleted now. */
  readonly delete: readonly { readonly pack: string; readonly bytes: number }[];
  /** Deleted by a later collection. What is still needed of those that are rewritten is copied first. */
  readonly condemn: readonly { readonly pack: string; readonly bytes: number; readonly reason: Reason }[];
  /** Condemned before, and not to be deleted yet. */
  readonly waiting: readonly { readonly pack: string; readonly bytes: number }[];
  /** To be copied out of packs that are rewritten, before compression. */
  readonly copyBytes: number;
  /** Of all packs in the bucket. */
  readonly totalBytes: number;
}

/** A pack is worth rewriting when so much of it is dead, or when it is so small and not the only one. */
const DEAD_SHARE = 0.2;
const SMALL_SHARE = 0.25;
/** Of all packs, at most, in one collection; but always so many whole data packs, or a small repository would keep its space for many days. */
const REWRITE_SHARE = 0.1;
const REWRITE_PACKS = 4;
/** Copied in one collection, at most: each takes memory until all are. */
const REWRITE_BLOBS = 400_000;

/** Decides what goes. Pure. */
export function planPrune({ packs, condemned, ripe, packBytes }: PruneFacts): PrunePlan {
  const totalBytes = packs.reduce((sum, { size }) => sum + size, 0);
  const listed = packs
    .filter(({ id }) => condemned.has(id))
    .map(({ id, size }) => ({ pack: id, bytes: size, since: condemned.get(id) as number }));
  const candidates = packs.filter(({ id, isSettled }) => !condemned.has(id) && isSettled);
  const condemn = candidates.flatMap((pack) => {
    const reason = reasonFor(pack);
    return reason === undefined ? [] : [{ pack: pack.id, bytes: pack.size, reason }];
  });
  const rewritten = chooseRewrites(
    candidates.filter((pack) => reasonFor(pack) === undefined),
    packBytes,
    Math.max(totalBytes * REWRITE_SHARE, packBytes.data * REWRITE_PACKS),
  );
  const liveOf = (ids: ReadonlySet<string>) => packs.reduce((sum, { id, use }) => sum + (ids.has(id) ? (use?.liveBytes ?? 0) : 0), 0);
  const leaving = new Set([...condemn.map(({ pack }) => pack), ...rewritten.map(({ id }) => id)]);
  return {
    delete: listed.filter(({ since }) => since <= ripe).map(({ pack, bytes }) => ({ pack, bytes })),
    waiting: listed.filter(({ since }) => since > ripe).map(({ pack, bytes }) => ({ pack, bytes })),
    condemn: [...condemn, ...rewritten.map(({ id, size }) => ({ pack: id, bytes: size, reason: 'rewritten' as const }))],
    copyBytes: liveOf(leaving),
    totalBytes,
  };
}

function reasonFor({ use }: PackFacts): Reason | undefined {
  if (use === undefined) return 'no segment names it';
  return use.liveBytes === 0 && use.deadBytes > 0 ? 'unused' : undefined;
}

/** Those with most dead first, within `budget` bytes and so many blobs. Small ones only when together they make fewer. */
function chooseRewrites(packs: readonly PackFacts[], packBytes: PruneFacts['packBytes'], budget: number): PackFacts[] {
  const deadShare = ({ use }: PackFacts) => (use === undefined ? 0 : use.deadBytes / Math.max(use.liveBytes + use.deadBytes, 1));
  const isSmall = ({ kind, size }: PackFacts) => kind !== undefined && size < packBytes[kind] * SMALL_SHARE;
  const smallCount = { data: 0, node: 0 };
  for (const pack of packs) if (pack.kind !== undefined && isSmall(pack)) smallCount[pack.kind]++;
  const worthwhile = packs.filter(
    (pack) => deadShare(pack) >= DEAD_SHARE || (isSmall(pack) && pack.kind !== undefined && smallCount[pack.kind] * SMALL_SHARE > 1),
  );
  worthwhile.sort((a, b) => deadShare(b) - deadShare(a) || a.size - b.size);
  let spent = 0;
  let blobs = 0;
  return worthwhile.filter(({ size, use }) => {
    const copied = use?.liveBlobs ?? 0;
    const fits = spent === 0 || (spent + size <= budget && blobs + copied <= REWRITE_BLOBS);
    if (fits) spent += size;
    if (fits) blobs += copied;
    return fits;
  });
}
