import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { KubeObject, ResourceKind } from '../../core/src/model.ts';
import type { Cluster } from '../../core/src/cluster/cluster.ts';

/** A TCP proxy on loopback that counts connections, and that a test can cut or take away. */
export class TcpProxy {
  connections = 0;
  readonly #to: { readonly host: string; readonly port: number };
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #port = 0;

  constructor(to: URL) {
    this.#to = { host: to.hostname, port: Number(to.port) };
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    this.#server = createServer((near) => {
      this.connections++;
      const far = connect(this.#to);
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(socket);
        socket.on('error', () => other.destroy());
        socket.on('close', () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
        socket.pipe(other);
      }
    });
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Breaks every connection; new ones are taken. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** From now on connections are refused; `start` takes them again, at the same port. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    this.cut();
    await closed;
  }
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export async function kindOf(cluster: Cluster, kind: string, group = ''): Promise<ResourceKind> {
  const found = (await cluster.kinds()).find((k) => k.kind === kind && k.group === group);
  if (found === undefined) throw new Error(`no kind ${kind}`);
  return found;
}

export function configMap(namespace: string, name: string, fields: Readonly<Record<string, unknown>> = {}): KubeObject {
  const { labels, ...rest } = fields;
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace, ...(labels === undefined ? {} : { labels }) },
    ...rest,
  } as KubeObject;
}
