import { dirname, isAbsolute, join } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import { DmaasError } from '../errors.ts';

/** The world a kubeconfig is read in. */
export interface KubeconfigHost {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly homeDirectory: string;
  /** Separator of lists of paths: `:`, on Windows `;`. */
  readonly pathDelimiter: string;
  /** Rejects with `code: 'ENOENT'` when there is no such file. */
  readonly readFile: (path: string) => Promise<Uint8Array>;
}

export type Fields = Readonly<Record<string, unknown>>;

/** One cluster, user or context, with the folder its relative paths start from. */
export interface Entry {
  readonly fields: Fields;
  readonly directory: string;
}

export interface Kubeconfig {
  /** The files that exist, in order of precedence. */
  readonly files: readonly string[];
  /** The files that were looked for. */
  readonly sought: readonly string[];
  readonly clusters: ReadonlyMap<string, Entry>;
  readonly users: ReadonlyMap<string, Entry>;
  readonly contexts: ReadonlyMap<string, Entry>;
  readonly currentContext: string | undefined;
}

/**
 * Reads the files kubectl would read and merges them by its rules: with an explicit path that file alone, which must exist; else
 * those of KUBECONFIG, where missing ones are ignored; else ~/.kube/config. The first file that defines a name defines all of it.
 */
export async function readKubeconfig(explicit: string | undefined, host: KubeconfigHost): Promise<Kubeconfig> {
  const sought = explicit === undefined ? defaultPaths(host) : [explicit];
  const files: string[] = [];
  const merged = { clusters: new Map<string, Entry>(), users: new Map<string, Entry>(), contexts: new Map<string, Entry>() };
  let currentContext: string | undefined;
  for (const path of sought) {
    const text = await readIfPresent(path, host);
    if (text === undefined) {
      if (explicit !== undefined) throw new DmaasError('USAGE', `kubeconfig ${path} does not exist`);
      continue;
    }
    files.push(path);
    const document = parse(path, text);
    mergeSection(merged.clusters, document['clusters'], 'cluster', path);
    mergeSection(merged.users, document['users'], 'user', path);
    mergeSection(merged.contexts, document['contexts'], 'context', path);
    currentContext ??= textOf(document['current-context']);
  }
  return { files, sought, ...merged, currentContext };
}

function defaultPaths({ env, homeDirectory, pathDelimiter }: KubeconfigHost): string[] {
  const listed = [...new Set((env['KUBECONFIG'] ?? '').split(pathDelimiter).filter((path) => path !== ''))];
  return listed.length > 0 ? listed : [join(homeDirectory, '.kube', 'config')];
}

async function readIfPresent(path: string, host: KubeconfigHost): Promise<string | undefined> {
  try {
    return new TextDecoder().decode(await host.readFile(path));
  } catch (cause) {
    const { code } = cause as { code?: unknown };
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new DmaasError('USAGE', `kubeconfig ${path} cannot be read${typeof code === 'string' ? ` (${code})` : ''}`, { cause });
  }
}

function parse(path: string, text: string): Fields {
  const lines = new LineCounter();
  // The library's pretty messages quote the file, which holds secrets.
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines });
  const [error] = document.errors;
  if (error !== undefined) {
    throw new DmaasError('USAGE', `kubeconfig ${path} is not valid YAML (line ${lines.linePos(error.pos[0]).line})`);
  }
  const value: unknown = document.toJS();
  if (value === null) return {};
  if (!isFields(value)) throw new DmaasError('USAGE', `${path} is not a kubeconfig`);
  return value;
}

function mergeSection(into: Map<string, Entry>, list: unknown, field: 'cluster' | 'user' | 'context', path: string): void {
  if (list === undefined || list === null) return;
  if (!Array.isArray(list)) throw new DmaasError('USAGE', `${path} is not a kubeconfig: ${field}s is not a list`);
  const seen = new Set<string>();
  for (const item of list as unknown[]) {
    const name = isFields(item) ? textOf(item['name']) : undefined;
    if (!isFields(item) || name === undefined) throw new DmaasError('USAGE', `kubeconfig ${path} has a ${field} without a name`);
    if (seen.has(name)) throw new DmaasError('USAGE', `kubeconfig ${path} names ${field} "${name}" twice`);
    seen.add(name);
    const fields = item[field];
    if (!into.has(name)) into.set(name, { fields: isFields(fields) ? fields : {}, directory: dirname(path) });
  }
}

/** A path in an entry, made absolute as kubectl does: from the folder of the entry's file. */
export function resolvePath(entry: Pick<Entry, 'directory'>, path: string): string {
  return isAbsolute(path) ? path : join(entry.directory, path);
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value as a string that is not empty; YAML may have read a name such as `123` as a number. */
export function textOf(value: unknown): string | undefined {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return typeof value === 'string' && value !== '' ? value : undefined;
}
