/** What was measured, as rows with ratios, and as tables for people. */
import { WORKS, type Measurement } from './bench.ts';
import type { Traffic } from './counting-proxy.ts';

export const OURS = 'dmaas';

/** Medians over the rounds. */
export interface Column {
  readonly tool: string;
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly cpuSecondsPerGiB: number;
  readonly peakBytes: number;
  readonly addedBytes: number;
  readonly repositoryBytes: number;
  readonly traffic?: Traffic;
  /** Rounds in which it failed, or restored something else. */
  readonly faults: number;
}

export interface Row {
  readonly store: string;
  readonly set: string;
  readonly work: string;
  readonly columns: readonly Column[];
  /** The fastest of the others that did it in every round; archivers are no peers. */
  readonly bestPeer?: string;
  /** Its value divided by ours, so that more than 1 is ahead of it; absent where there is no peer, or ours failed. */
  readonly ahead?: { readonly wall: number; readonly cpu: number; readonly memory: number; readonly added?: number };
}

const GIB = 2 ** 30;
const MIB = 2 ** 20;

export function rowsOf(measurements: readonly Measurement[], archivers: ReadonlySet<string>): Row[] {
  const groups = Map.groupBy(measurements, (m) => JSON.stringify([m.store, m.set, WORKS.indexOf(m.work)]));
  return [...groups.values()].map((group) => {
    const { store, set, work } = group[0]!;
    const columns = [...Map.groupBy(group, (m) => m.tool)].map(([tool, of]) => columnOf(tool, of));
    return { store, set, work, columns, ...comparison(columns, archivers) };
  });
}

function columnOf(tool: string, rounds: readonly Measurement[]): Column {
  const good = rounds.filter((m) => m.fault === undefined);
  const of = (pick: (m: Measurement) => number): number => median((good.length > 0 ? good : rounds).map(pick));
  const cpuSeconds = of((m) => m.cpuSeconds);
  const { traffic } = rounds.at(-1)!;
  return {
    tool,
    wallSeconds: of((m) => m.wallSeconds),
    cpuSeconds,
    cpuSecondsPerGiB: (cpuSeconds / rounds[0]!.sourceBytes) * GIB,
    peakBytes: of((m) => m.peakBytes),
    addedBytes: of((m) => m.addedBytes),
    repositoryBytes: of((m) => m.repositoryBytes),
    ...(traffic === undefined ? {} : { traffic }),
    faults: rounds.length - good.length,
  };
}

function comparison(columns: readonly Column[], archivers: ReadonlySet<string>): Pick<Row, 'bestPeer' | 'ahead'> {
  const ours = columns.find((c) => c.tool === OURS);
  const peers = columns.filter((c) => c.tool !== OURS && !archivers.has(c.tool) && c.faults === 0);
  const best = peers.toSorted((a, b) => a.wallSeconds - b.wallSeconds)[0];
  if (best === undefined) return {};
  if (ours === undefined || ours.faults > 0) return { bestPeer: best.tool };
  const least = (pick: (c: Column) => number): number => Math.min(...peers.map(pick)) / pick(ours);
  const added = least((c) => c.addedBytes);
  return {
    bestPeer: best.tool,
    ahead: {
      wall: best.wallSeconds / ours.wallSeconds,
      cpu: least((c) => c.cpuSeconds),
      memory: least((c) => c.peakBytes),
      ...(Number.isFinite(added) && added > 0 ? { added } : {}),
    },
  };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function markdown(rows: readonly Row[], versions: Readonly<Record<string, string>>, heading: readonly string[]): string {
  const lines = ['# Benchmark', '', ...heading, '', ...Object.entries(versions).map(([tool, version]) => `- ${tool}: ${version}`), ''];
  for (const [store, of] of Map.groupBy(rows, (row) => row.store)) {
    lines.push(`## Store ${store}`, '', ...table(of), '');
  }
  const lost = rows.filter((row) => row.ahead !== undefined && row.ahead.wall < 1);
  const failed = rows.flatMap((row) =>
    row.columns.filter((c) => c.faults > 0).map((c) => `${c.tool}: ${row.store}, ${row.set}, ${row.work}`),
  );
  lines.push('## Where DMaaS is behind', '');
  if (lost.length === 0) lines.push('In no row by wall-clock time.');
  for (const row of lost) lines.push(`- ${row.store}, ${row.set}, ${row.work}: ${ratio(row.ahead!.wall)} of the speed of ${row.bestPeer!}`);
  if (failed.length > 0) lines.push('', '## Failed', '', ...failed.map((line) => `- ${line}`));
  return `${lines.join('\n')}\n`;
}

function table(rows: readonly Row[]): string[] {
  const hasTraffic = rows.some((row) => row.columns.some((c) => c.traffic !== undefined));
  return [
    `| set | work | tool | wall s | CPU s | CPU s/GiB | peak MiB | added MiB | repository MiB |${hasTraffic ? ' requests |' : ''} DMaaS is ahead of the best: wall, CPU |`,
    `| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |${hasTraffic ? ' --- |' : ''} --- |`,
    ...rows.flatMap((row) =>
      row.columns.map((c) => {
        const ahead =
          c.tool === OURS && row.ahead !== undefined ? `${ratio(row.ahead.wall)}, ${ratio(row.ahead.cpu)} (${row.bestPeer!})` : '';
        const numbers = [c.wallSeconds, c.cpuSeconds, c.cpuSecondsPerGiB].map((n) => n.toFixed(2));
        const sizes = [c.peakBytes / MIB, c.addedBytes / MIB, c.repositoryBytes / MIB].map((n) => n.toFixed(n < 100 ? 1 : 0));
        const fault = c.faults > 0 ? ` **failed ${c.faults}×**` : '';
        const traffic = hasTraffic ? [requests(c.traffic)] : [];
        return `| ${[row.set, row.work, c.tool + fault, ...numbers, ...sizes, ...traffic, ahead].join(' | ')} |`;
      }),
    ),
  ];
}

function requests(traffic: Traffic | undefined): string {
  if (traffic === undefined) return '';
  const verbs = Object.entries(traffic.requests).map(([verb, count]) => `${verb} ${count}`);
  return `${verbs.join(' ')}; ${(traffic.bytesUp / MIB).toFixed(1)} MiB up, ${(traffic.bytesDown / MIB).toFixed(1)} down`;
}

const ratio = (value: number): string => `${value.toFixed(2)}×`;
