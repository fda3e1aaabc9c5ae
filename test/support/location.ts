/** A location whose bucket is in memory, its repositories, and commands of the plugin on it. */
import type { Location, LocationAccess } from '../../core/src/location/location.ts';
import { openLocationRepository, type OpenDeps } from '../../core/src/location/open.ts';
import { deriveScope, formatKey, newKey, parseKey } from '../../core/src/repository/keys/keys.ts';
import { writeManifests } from '../../core/src/repository/manifests.ts';
import type { StoreConfig } from '../../core/src/store/config.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { withPrefix } from '../../core/src/store/prefix.ts';
import { Session } from '../../kubectl-plugin/src/session.ts';
import { callPlugin } from './plugin-call.ts';
import type { CommandResult } from './setup/command.ts';

export const SHOP = { clusterId: 'cluster-1', namespace: 'shop', context: 'prod' };
export const BLOG = { clusterId: 'cluster-1', namespace: 'blog', context: 'prod' };

/** A location in `bucket()`. */
export function accessWith(key = formatKey(newKey()), prefix = 'backups'): LocationAccess {
  const location: Location = {
    name: 'eu',
    namespace: 'dmaas',
    bucket: 'bucket',
    prefix,
    credential: 'c',
    credentialNamespace: 'dmaas',
    key,
    isDefault: false,
  };
  const values = { kind: 'aws', accessKeyId: 'A', secretAccessKey: 'S' } as const;
  return { location, credential: { title: 'c', namespace: 'dmaas', values } };
}

/** One bucket in memory, opened by configuration as a real one is. */
export function bucket(): OpenDeps & { readonly store: MemoryStore } {
  const store = new MemoryStore();
  return { store, openStore: (config: StoreConfig) => (config.prefix === undefined ? store : withPrefix(store, config.prefix)) };
}

/** Where in the bucket an object of the repository of that namespace is. */
export function keyIn({ location }: LocationAccess, source: typeof SHOP, key: string): string {
  return `${location.prefix}/${deriveScope(parseKey(location.key), source).directory}/${key}`;
}

let backups = 0;

/** Each an hour after the one before. @returns its id. */
export async function addBackup(
  access: LocationAccess,
  source: typeof SHOP,
  deps: OpenDeps,
  app: string,
  name: string,
  operation: string,
): Promise<string> {
  const open = await openLocationRepository(access, source, deps, { create: true });
  const manifests = await open.repository.write((writer) => writeManifests(writer, []));
  const { id } = await open.repository.commit({
    operation,
    name,
    startedAt: new Date(Date.UTC(2026, 10, 22, 10 + backups++)).toISOString(),
    tool: 'test',
    app: { name: app, namespace: source.namespace, selector: {} },
    cluster: { id: source.clusterId, context: source.context, version: 'v1' },
    manifests,
    members: 0,
    volumes: [],
    findings: [],
    labels: {},
  });
  await open.close();
  return id;
}

/** Runs a command line in this process, with this location in the place of what `--location-file` names. */
export async function callOn(access: LocationAccess, deps: OpenDeps, line: string): Promise<CommandResult> {
  class InMemory extends Session {
    override get stores(): OpenDeps {
      return deps;
    }
    override get patientStores(): OpenDeps {
      return deps;
    }
    override location(): Promise<LocationAccess> {
      return Promise.resolve(access);
    }
  }
  return callPlugin([...line.split(' '), '--location-file', 'eu.yaml'], { SessionOf: InMemory });
}
