import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureFakeGcs } from '../setup/go.ts';
import { accepts, freePorts, type GcsServer, ServerProcess, type StoreOptions, temporaryDir } from './server.ts';

/** fake-gcs-server, keeping its objects in files. It asks for no credentials. */
export async function startFakeGcs(options: StoreOptions = {}): Promise<GcsServer> {
  const host = options.host ?? '127.0.0.1';
  const program = await ensureFakeGcs();
  const work = await temporaryDir('fake-gcs');
  const data = options.dataDir ?? join(work.path, 'data');
  await mkdir(data, { recursive: true });
  const [port] = await freePorts(host, 1);
  const endpoint = `http://${host}:${port!}`;
  const process = new ServerProcess({
    name: 'fake-gcs-server',
    command: program,
    args: [
      ...['-scheme', 'http', '-host', host, '-port', String(port!), '-public-host', `${host}:${port!}`, '-external-url', endpoint],
      ...['-backend', 'filesystem', '-filesystem-root', data, '-log-level', 'warn'],
    ],
    logFile: join(work.path, 'log'),
    isReady: () => accepts(host, port!),
  });
  await process.start();
  return {
    endpoint,
    projectId: 'dmaas-test',
    async createBucket(name) {
      const response = await fetch(`${endpoint}/storage/v1/b?project=dmaas-test`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ name }),
      });
      if (!response.ok) throw new Error(`fake-gcs-server does not make the bucket ${name}: ${response.status} ${await response.text()}`);
    },
    stop: () => process.kill().then(() => work.remove()),
    kill: () => process.kill(),
    restart: () => process.restart(),
  };
}
