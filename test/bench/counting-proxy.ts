/** A proxy in front of an HTTP/1.1 store that counts requests and adds latency, once for each round trip; it limits no throughput. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface Traffic {
  /** By verb; a GET or PUT of no object is LIST or BUCKET, a part of a multipart upload PART. */
  readonly requests: Readonly<Record<string, number>>;
  readonly bytesUp: number;
  readonly bytesDown: number;
}

export interface CountingProxy {
  readonly url: string;
  /** What went through since the last call. */
  take(): Traffic;
  close(): Promise<void>;
}

/** Bytes that wait for their time; more are not read. */
const MAX_HELD = 64 << 20;

export async function startCountingProxy(target: URL, latencyMs: number): Promise<CountingProxy> {
  let requests: Record<string, number> = {};
  let [bytesUp, bytesDown] = [0, 0];
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (client) => {
    const store = connect({ host: target.hostname, port: Number(target.port), noDelay: true });
    for (const [socket, other] of [
      [client, store],
      [store, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    const count = requestParser((verb) => (requests[verb] = (requests[verb] ?? 0) + 1));
    const send = delayed(client, store, latencyMs);
    client.on('data', (bytes: Buffer) => {
      bytesUp += bytes.length;
      count(bytes);
      send(bytes);
    });
    store.on('data', (bytes: Buffer) => {
      bytesDown += bytes.length;
      if (!client.write(bytes)) store.pause();
    });
    client.on('drain', () => store.resume());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    take() {
      const traffic = { requests, bytesUp, bytesDown };
      requests = {};
      [bytesUp, bytesDown] = [0, 0];
      return traffic;
    },
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}

/** Hands bytes on after a time, in order. */
function delayed(from: Socket, to: Socket, latencyMs: number): (bytes: Buffer) => void {
  const queue: { readonly due: number; readonly bytes: Buffer }[] = [];
  let held = 0;
  let timer: NodeJS.Timeout | undefined;
  const resume = (): void => {
    if (held < MAX_HELD && !to.writableNeedDrain) from.resume();
  };
  const flush = (): void => {
    timer = undefined;
    for (let next = queue[0]; next !== undefined && next.due <= performance.now(); next = queue[0]) {
      queue.shift();
      held -= next.bytes.length;
      to.write(next.bytes);
    }
    if (queue[0] !== undefined) timer = setTimeout(flush, Math.max(0, queue[0].due - performance.now()));
    resume();
  };
  to.on('drain', resume);
  return (bytes) => {
    if (latencyMs === 0) {
      if (!to.write(bytes)) from.pause();
      return;
    }
    queue.push({ due: performance.now() + latencyMs, bytes });
    held += bytes.length;
    timer ??= setTimeout(flush, latencyMs);
    if (held >= MAX_HELD || to.writableNeedDrain) from.pause();
  };
}

/** Reads the heads of requests and skips their bodies, which are as long as the heads say. */
function requestParser(onRequest: (verb: string) => void): (bytes: Buffer) => void {
  let head = '';
  let body = 0;
  return (bytes) => {
    let at = 0;
    while (at < bytes.length) {
      if (body > 0) {
        const skipped = Math.min(body, bytes.length - at);
        body -= skipped;
        at += skipped;
        continue;
      }
      const known = head.length;
      head += bytes.toString('latin1', at);
      const end = head.indexOf('\r\n\r\n', Math.max(0, known - 3));
      if (end < 0) return;
      at += end + 4 - known;
      const [first = ''] = head.split('\r\n', 1);
      body = Number(/\r\ncontent-length: *(\d+)/i.exec(head.slice(0, end + 2))?.[1] ?? 0);
      head = '';
      onRequest(verbOf(first));
    }
  };
}

/** `PUT /bucket/key?uploadId=…` and the like, addressed by path. */
function verbOf(requestLine: string): string {
  const [method = '', target = ''] = requestLine.split(' ');
  const [path = '', query = ''] = target.split('?');
  const isObject = path.split('/').slice(2).join('') !== '';
  if (method === 'GET' && !isObject) return /(^|&)location/.test(query) ? 'BUCKET' : 'LIST';
  if (method === 'PUT' && !isObject) return 'BUCKET';
  return method === 'PUT' && query.includes('uploadId=') ? 'PART' : method;
}
