import { setTimeout as sleep } from 'node:timers/promises';
import { DmaasError } from '../errors.ts';
import { parseJson } from '../json.ts';
import type { KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import { apiVersionOf } from './kinds.ts';
import { isFields, textOf } from './kubeconfig-file.ts';
import type { Fields } from './kubeconfig-file.ts';
import { splitLines } from './lines.ts';
import { collectionPath } from './paths.ts';
import type { ApiClient } from './request.ts';

/** Well above the size of any object (etcd takes 1.5 MiB). */
const MAX_EVENT_BYTES = 16 << 20;
/** The server sends a bookmark about once a minute; a watch without one for longer than this is dead. */
const IDLE_TIMEOUT_MS = 100_000;
const MAX_BACKOFF_MS = 5_000;

/**
 * The states of one object, the current one first, `undefined` while it is absent: a list, then watches that go on where the last one
 * ended. Goes on through lost connections, restarts of the server and forgotten versions until `signal` aborts; ends with an error
 * only when the server refuses.
 */
export async function* watchObject(
  client: ApiClient,
  kind: ResourceKind,
  ref: ObjectRef,
  signal: AbortSignal,
  onTrouble: (e: DmaasError) => void,
): AsyncGenerator<KubeObject | undefined> {
  const what = target(kind, ref, signal);
  let version: string | undefined;
  let failures = 0;
  while (!signal.aborted) {
    const startedMs = Date.now();
    try {
      if (version === undefined) {
        const list = await client.find({ ...what('list'), query: { fieldSelector: `metadata.name=${ref.name}` } });
        version = list && textOf(isFields(list['metadata']) ? list['metadata']['resourceVersion'] : undefined);
        const [item] = Array.isArray(list?.['items']) ? (list['items'] as unknown[]) : [];
        yield isFields(item) ? stamp(item, kind) : undefined;
      }
      if (version !== undefined) {
        for await (const event of events(client, what('watch'), ref.name, version)) {
          version = event.version;
          if (event.type === 'DELETED') yield undefined;
          else if (event.type !== 'BOOKMARK') yield stamp(event.object, kind);
        }
      }
    } catch (e) {
      const error = client.broken(e, { signal });
      if (error.details['status'] === 410) version = undefined;
      else if (error.code !== 'CLUSTER_UNREACHABLE') throw error;
      onTrouble(error);
    }
    // A watch that lasted was fine however it ended. Anything shorter is trouble: don't hammer the server.
    failures = Date.now() - startedMs > 2 * MAX_BACKOFF_MS ? 0 : failures + 1;
    const backoffMs = Math.min(100 * 2 ** failures, MAX_BACKOFF_MS) * (0.5 + Math.random());
    if (failures > 0) await sleep(backoffMs, undefined, { signal }).catch(() => undefined);
  }
}

interface WatchEvent {
  readonly type: string;
  readonly object: Fields;
  readonly version: string;
}

type WatchRequest = Omit<Parameters<ApiClient['stream']>[0], 'query'>;

async function* events(client: ApiClient, what: WatchRequest, name: string, version: string): AsyncGenerator<WatchEvent> {
  const body = await client.stream({
    ...what,
    query: {
      watch: true,
      fieldSelector: `metadata.name=${name}`,
      resourceVersion: version,
      allowWatchBookmarks: true,
      timeoutSeconds: 240 + Math.floor(Math.random() * 60),
    },
  });
  try {
    for await (const line of splitLines(body, MAX_EVENT_BYTES)) {
      const event = line.isCut ? undefined : parseEvent(line.text);
      if (event === undefined) throw new DmaasError('CLUSTER_UNREACHABLE', `${client.server} sent something else than events in a watch`);
      if (event.type === 'ERROR') {
        throw new DmaasError('CLUSTER_UNREACHABLE', `${client.server} ended a watch`, {
          details: { status: Number(event.object['code'] ?? 500) },
        });
      }
      yield event;
    }
  } finally {
    body.destroy();
  }
}

function parseEvent(line: string): WatchEvent | undefined {
  let event: unknown;
  try {
    event = parseJson(line);
  } catch {
    return undefined; // the connection broke in the middle of a line
  }
  const object = isFields(event) ? event['object'] : undefined;
  const type = isFields(event) ? textOf(event['type']) : undefined;
  if (!isFields(object) || type === undefined) return undefined;
  const version = isFields(object['metadata']) ? textOf(object['metadata']['resourceVersion']) : undefined;
  return { type, object, version: version ?? '' };
}

function target(kind: ResourceKind, ref: ObjectRef, signal: AbortSignal): (verb: 'list' | 'watch') => WatchRequest {
  const { namespace } = ref;
  return (verb) => ({
    method: 'GET',
    path: collectionPath(kind, namespace),
    access: { verb, group: kind.group, resource: kind.plural, ...(namespace === undefined ? {} : { namespace }) },
    isRepeatable: true,
    signal,
    idleTimeoutMs: IDLE_TIMEOUT_MS,
  });
}

/** Lists leave out what all their items have in common. */
export function stamp(item: Fields, kind: ResourceKind): KubeObject {
  return { apiVersion: apiVersionOf(kind), kind: kind.kind, ...item } as unknown as KubeObject;
}
