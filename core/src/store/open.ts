import type { StoreConfig } from './config.ts';
import type { NetworkDeps } from './network.ts';
import type { ObjectStore } from './object-store.ts';
import { withPrefix } from './prefix.ts';

/**
 * Opens the store of a configuration; sends nothing yet. Each provider's code, and with it a large SDK, is loaded only when it
 * is used. Whoever opens the store closes it.
 */
export async function openStore(config: StoreConfig, deps: NetworkDeps = {}): Promise<ObjectStore> {
  const root = await openRoot(config, deps);
  return config.prefix === undefined ? root : withPrefix(root, config.prefix, () => root.close());
}

async function openRoot(config: StoreConfig, deps: NetworkDeps): Promise<ObjectStore> {
  switch (config.provider) {
    case 's3':
      return (await import('./s3.ts')).openS3Store(config, deps);
    case 'gcs':
      return (await import('./gcs.ts')).openGcsStore(config, deps);
    case 'file':
      return new (await import('./file.ts')).FileStore(config.path);
  }
}
