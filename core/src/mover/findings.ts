import type { EventSink } from '../events.ts';
import type { Finding, FindingLevel } from '../model.ts';
import { showPath } from './paths.ts';

/** Findings of one code that are kept in full; the rest are counted, so that a million unreadable files do not fill the memory. */
export const MAX_FINDINGS_PER_CODE = 1000;

export type VolumeFindingCode =
  | 'reduced-fidelity'
  | 'parent-unreadable'
  | 'file-unreadable'
  | 'directory-unreadable'
  | 'file-vanished'
  | 'file-changed'
  | 'other-file-system'
  | 'attribute-unreadable'
  | 'entry-not-restored'
  | 'attribute-not-kept'
  | 'unexpected-entry';

/** Collects what must be told about a volume, and tells it as it comes. */
export class VolumeFindings {
  readonly #emit: EventSink;
  readonly #volume: string;
  readonly #list: Finding[] = [];
  readonly #counts = new Map<VolumeFindingCode, number>();

  constructor(emit: EventSink, volume: string) {
    this.#emit = emit;
    this.#volume = volume;
  }

  add(code: VolumeFindingCode, fact: string, level: FindingLevel = 'warning', hint?: string): void {
    const count = (this.#counts.get(code) ?? 0) + 1;
    this.#counts.set(code, count);
    if (count > MAX_FINDINGS_PER_CODE) return;
    const finding: Finding = { level, code, message: `${this.#volume}: ${fact}`, ...(hint === undefined ? {} : { hint }) };
    this.#list.push(finding);
    this.#emit({ type: 'finding', finding });
  }

  addFor(code: VolumeFindingCode, path: Buffer, fact: string, level: FindingLevel = 'warning'): void {
    this.add(code, `${showPath(path)} ${fact}`, level);
  }

  /** All of them, with a sum for those that were only counted. */
  all(): readonly Finding[] {
    const more = [...this.#counts].filter(([, count]) => count > MAX_FINDINGS_PER_CODE);
    return [
      ...this.#list,
      ...more.map(([code, count]): Finding => {
        const message = `${this.#volume}: ${count - MAX_FINDINGS_PER_CODE} more findings of this kind (${code}) are not listed one by one`;
        return { level: 'warning', code, message };
      }),
    ];
  }
}
