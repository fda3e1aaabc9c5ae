import { setTimeout as sleep } from 'node:timers/promises';
import type { ObjectRef, ResourceKind } from '../model.ts';
import { groupOf } from '../model.ts';
import { isFields, textOf } from './kubeconfig-file.ts';
import type { Fields } from './kubeconfig-file.ts';
import { mapConcurrent } from './map-concurrent.ts';
import type { ApiClient } from './request.ts';

/** Aggregated discovery: everything in two answers, from Kubernetes 1.27 on. Older servers answer the plain type. */
const AGGREGATED = ['v2', 'v2beta1'].map((v) => `application/json;g=apidiscovery.k8s.io;v=${v};as=APIGroupDiscoveryList`);
const ACCEPT = [...AGGREGATED, 'application/json'].join(',');
/** A kind that is not found may have been added since; asking again is cheap, but not for each of many such kinds. */
const RECHECK_AFTER_MS = 5_000;
const CONCURRENCY = 8;
/** A new kind is served a moment before discovery tells of it. */
const NEW_KIND_WAIT_MS = 5_000;
const NEW_KIND_POLL_MS = 200;

/** The kinds that a server serves, read once and again when somebody asks for one that is not among them. */
export class Discovery {
  readonly #client: ApiClient;
  #served: Promise<readonly ResourceKind[]> | undefined;
  #readAtMs = 0;
  /** Until when a kind that was just defined is waited for. */
  readonly #expectedUntilMs = new Map<string, number>();

  constructor(client: ApiClient) {
    this.#client = client;
  }

  /** Kinds that can be listed, each in the version the server prefers. */
  async preferred(): Promise<readonly ResourceKind[]> {
    const seen = new Set<string>();
    // Versions come in order of preference; a kind that only a later one has counts too.
    return (await this.#all()).filter((k) => {
      const id = `${k.group}/${k.kind}`;
      return k.verbs.includes('list') && !seen.has(id) && seen.add(id);
    });
  }

  /** The resource behind a ref. When its version is not served, another version of the same kind, unless `exact`. */
  async find(ref: Pick<ObjectRef, 'apiVersion' | 'kind'>, exact = false): Promise<ResourceKind | undefined> {
    for (;;) {
      const found = pick(await this.#all(), ref, exact);
      if (found !== undefined) return found;
      const id = `${groupOf(ref.apiVersion)}/${ref.kind}`;
      const isExpected = Date.now() < (this.#expectedUntilMs.get(id) ?? 0);
      if (!isExpected && Date.now() - this.#readAtMs < RECHECK_AFTER_MS) return undefined;
      if (isExpected) await sleep(NEW_KIND_POLL_MS);
      this.#forget();
    }
  }

  /** After a custom resource definition was written: what was read is out of date, and its kind will be served soon. */
  expect(definition: Fields): void {
    this.#forget();
    const spec = isFields(definition['spec']) ? definition['spec'] : {};
    const kind = isFields(spec['names']) ? textOf(spec['names']['kind']) : undefined;
    this.#expectedUntilMs.set(`${textOf(spec['group']) ?? ''}/${kind ?? ''}`, Date.now() + NEW_KIND_WAIT_MS);
  }

  #forget(): void {
    this.#served = undefined;
    this.#readAtMs = 0;
  }

  #all(): Promise<readonly ResourceKind[]> {
    this.#served ??= this.#read().catch((e: unknown) => {
      this.#served = undefined;
      throw e;
    });
    return this.#served;
  }

  async #read(): Promise<readonly ResourceKind[]> {
    const [core, groups] = await Promise.all([this.#get('/api', ACCEPT), this.#get('/apis', ACCEPT)]);
    const parts = await Promise.all([
      core['kind'] === 'APIGroupDiscoveryList' ? aggregated(core) : this.#eachVersion(['v1']),
      groups['kind'] === 'APIGroupDiscoveryList' ? aggregated(groups) : this.#eachVersion(groupVersions(groups)),
    ]);
    this.#readAtMs = Date.now();
    return parts.flat();
  }

  async #eachVersion(versions: readonly string[]): Promise<ResourceKind[]> {
    const lists = await mapConcurrent(versions, CONCURRENCY, (version) =>
      this.#get(version === 'v1' ? '/api/v1' : `/apis/${version}`, 'application/json'),
    );
    return lists.flatMap((list, i) => resourceList(versions[i] ?? '', list));
  }

  #get(path: string, accept: string): Promise<Fields> {
    const access = { verb: 'get', group: '', resource: path };
    return this.#client.json({ method: 'GET', path, accept, access, isRepeatable: true });
  }
}

function pick(
  served: readonly ResourceKind[],
  { apiVersion, kind }: Pick<ObjectRef, 'apiVersion' | 'kind'>,
  exact: boolean,
): ResourceKind | undefined {
  const group = groupOf(apiVersion);
  const candidates = served.filter((k) => k.group === group && k.kind === kind);
  return candidates.find((k) => apiVersionOf(k) === apiVersion) ?? (exact ? undefined : candidates[0]);
}

export function apiVersionOf({ group, version }: Pick<ResourceKind, 'group' | 'version'>): string {
  return group === '' ? version : `${group}/${version}`;
}

function aggregated(list: Fields): ResourceKind[] {
  return items(list, 'items').flatMap((item) => {
    const group = isFields(item['metadata']) ? (textOf(item['metadata']['name']) ?? '') : '';
    return items(item, 'versions').flatMap((v) =>
      items(v, 'resources').map((r) => ({
        group,
        version: textOf(v['version']) ?? '',
        kind: (isFields(r['responseKind']) ? textOf(r['responseKind']['kind']) : undefined) ?? '',
        plural: textOf(r['resource']) ?? '',
        namespaced: r['scope'] === 'Namespaced',
        verbs: words(r['verbs']),
      })),
    );
  });
}

function groupVersions(list: Fields): string[] {
  return items(list, 'groups').flatMap((group) => {
    const versions = items(group, 'versions').flatMap((v) => textOf(v['groupVersion']) ?? []);
    const preferred = isFields(group['preferredVersion']) ? textOf(group['preferredVersion']['groupVersion']) : undefined;
    return [...new Set([...(preferred === undefined ? [] : [preferred]), ...versions])];
  });
}

function resourceList(groupVersion: string, list: Fields): ResourceKind[] {
  const version = groupVersion.slice(groupVersion.indexOf('/') + 1);
  return items(list, 'resources')
    .map((r) => ({
      group: groupOf(groupVersion),
      version,
      kind: textOf(r['kind']) ?? '',
      plural: textOf(r['name']) ?? '',
      namespaced: r['namespaced'] === true,
      verbs: words(r['verbs']),
    }))
    .filter((k) => !k.plural.includes('/')); // a subresource
}

function items(of: Fields, field: string): Fields[] {
  const list = of[field];
  return Array.isArray(list) ? list.filter(isFields) : [];
}

function words(list: unknown): string[] {
  return Array.isArray(list) ? list.filter((word) => typeof word === 'string') : [];
}
