import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { EventEmitter, type ExtensionContext } from 'vscode';
import type { CredentialValues, LocationAccess, LocationDocument, LocationReference } from '@dmaas/core';
import { loadCore } from './core.ts';
import type { Session } from './session.ts';
import { settings } from './settings.ts';

/** Where a location was found. */
export type Origin =
  | { readonly kind: 'secret'; readonly context: string; readonly namespace: string; readonly name: string }
  | { readonly kind: 'file'; readonly path: string };

/** A location that the editor knows of. Nothing in it is secret. */
export interface KnownLocation {
  /** Stable over restarts; also the authority of the `dmaas:` addresses of what it holds. */
  readonly id: string;
  readonly origin: Origin;
}

const FILES = 'dmaas.locationFiles';

export function idOf(origin: Origin): string {
  const parts = origin.kind === 'file' ? [origin.path] : [origin.context, origin.namespace, origin.name];
  return `${origin.kind}-${createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16)}`;
}

export function nameOf({ origin }: KnownLocation): string {
  return origin.kind === 'secret' ? origin.name : (origin.path.split('/').at(-1) ?? origin.path);
}

/** How a command line names it. */
export function referenceOf({ origin }: KnownLocation): LocationReference {
  return origin.kind === 'file' ? { file: origin.path } : { name: origin.name, homeNamespace: settings.homeNamespace };
}

/** The exported location files that were opened, and the access keys that were typed in for them: those are in the secret storage only. */
export class LocationFiles {
  readonly #context: ExtensionContext;
  readonly #session: Session;
  readonly #changed = new EventEmitter<void>();
  readonly onDidChange = this.#changed.event;

  constructor(context: ExtensionContext, session: Session) {
    this.#context = context;
    this.#session = session;
  }

  list(): readonly KnownLocation[] {
    const paths = this.#context.globalState.get<readonly string[]>(FILES) ?? [];
    return paths.map((path): Origin => ({ kind: 'file', path })).map((origin) => ({ id: idOf(origin), origin }));
  }

  /** Throws USAGE when the file is no exported location. */
  async add(path: string): Promise<KnownLocation> {
    await readDocument(path);
    const paths = this.#context.globalState.get<readonly string[]>(FILES) ?? [];
    await this.#context.globalState.update(FILES, [...new Set([...paths, path])]);
    this.#changed.fire();
    const origin: Origin = { kind: 'file', path };
    return { id: idOf(origin), origin };
  }

  async remove(path: string): Promise<void> {
    const paths = this.#context.globalState.get<readonly string[]>(FILES) ?? [];
    await this.#context.globalState.update(
      FILES,
      paths.filter((other) => other !== path),
    );
    await this.#context.secrets.delete(keysName(path));
    this.#changed.fire();
  }

  async keepKeys(path: string, values: CredentialValues): Promise<void> {
    await this.#context.secrets.store(keysName(path), JSON.stringify(values));
    this.#changed.fire();
  }

  /** What opens the bucket. Throws USAGE that says so when the file holds no access keys and none were typed in. */
  async access({ origin }: KnownLocation): Promise<LocationAccess> {
    const core = await loadCore();
    if (origin.kind === 'secret') {
      const cluster = await this.#session.cluster(origin.context);
      return core.getLocationAccess(cluster, this.#session.places(origin.namespace), origin.name);
    }
    const document = await readDocument(origin.path);
    const kept = await this.#context.secrets.get(keysName(origin.path));
    if (kept !== undefined) return core.accessFromDocument(document, core.parseCredentialValues(JSON.parse(kept)));
    if (holdsKeys(document)) return core.accessFromDocument(document);
    throw new core.DmaasError('USAGE', `${origin.path} holds no access keys for bucket ${document.bucket}`, { hint: 'enter them' });
  }
}

export function holdsKeys({ credential }: LocationDocument): boolean {
  return credential['secretAccessKey'] !== undefined || credential['serviceAccount'] !== undefined;
}

const keysName = (path: string): string => `dmaas.keys:${path}`;

export async function readDocument(path: string): Promise<LocationDocument> {
  const core = await loadCore();
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new core.DmaasError('USAGE', `the location file ${path} cannot be read`, { cause });
  }
  return core.parseLocationDocument(text);
}
