import { DmaasError } from '@dmaas/core';

/** Values of flags and positionals of one call, read by name. */
export class Args {
  private readonly values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>) {
    this.values = values;
  }

  string(name: string): string | undefined {
    const v = this.values[name];
    if (v === undefined) return undefined;
    if (Array.isArray(v)) throw new DmaasError('USAGE', `--${name} is given more than once`);
    return typeof v === 'string' || typeof v === 'number' ? String(v) : undefined;
  }

  /** A value without which the command makes no sense. */
  need(name: string, hint?: string): string {
    const v = this.string(name);
    if (v === undefined || v === '') {
      throw new DmaasError('USAGE', `${name === name.toUpperCase() ? name : `--${name}`} is missing`, hint === undefined ? {} : { hint });
    }
    return v;
  }

  bool(name: string): boolean {
    return this.values[name] === true;
  }

  list(name: string): readonly string[] {
    const v = this.values[name];
    const all = Array.isArray(v) ? v : v === undefined ? [] : [v];
    return all.flatMap((x) => String(x).split(',')).filter((x) => x !== '');
  }

  /** As `list`, for values that have commas of their own, such as label selectors. */
  each(name: string): readonly string[] {
    const v = this.values[name];
    const all: readonly unknown[] = Array.isArray(v) ? v : [v];
    return all
      .filter((x) => typeof x === 'string' || typeof x === 'number')
      .map(String)
      .filter((x) => x !== '');
  }

  /** Pairs `key=value`, e.g. of `--map-storage-class old=new`, which errors show as `form`. With `withEmpty` the key may be ''. */
  map(name: string, { form = 'OLD=NEW', withEmpty = false } = {}): Readonly<Record<string, string>> {
    const out: Record<string, string> = {};
    for (const pair of this.list(name)) {
      const at = pair.indexOf('=');
      if (at < (withEmpty ? 0 : 1) || at === pair.length - 1) throw new DmaasError('USAGE', `--${name} ${pair} is not of the form ${form}`);
      out[pair.slice(0, at)] = pair.slice(at + 1);
    }
    return out;
  }

  /** A duration such as `90s`, `10m`, `1h30m`, in milliseconds. */
  duration(name: string): number | undefined {
    const text = this.string(name);
    if (text === undefined) return undefined;
    const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
    const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
    if (parts.length === 0 || parts.map((p) => p[0]).join('') !== text) {
      throw new DmaasError('USAGE', `--${name} ${text} is not a duration`, { hint: 'write it as 90s, 10m or 1h30m' });
    }
    return parts.reduce((sum, [, n, unit]) => sum + Number(n) * (units[unit ?? 's'] ?? 0), 0);
  }
}
