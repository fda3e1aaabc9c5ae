import { once } from 'node:events';
import { createServer, request as httpRequest } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What happens to one request on its way to the server behind. */
export type HttpFault =
  /** Answered here; the server behind never sees the request. */
  | { readonly kind: 'answer'; readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
  /** The connection breaks before the request reaches the server. */
  | { readonly kind: 'drop' }
  /** The server does what was asked; its answer is lost with the connection. */
  | { readonly kind: 'lose-answer' }
  /** The connection breaks in the middle of the answer's body. */
  | { readonly kind: 'cut' }
  /** Half of the body comes under a Content-Length that fits it, so that HTTP sees nothing wrong. */
  | { readonly kind: 'shorten' }
  /** One bit of the body is turned. */
  | { readonly kind: 'damage' }
  /** Nothing comes back, and the connection stays open. */
  | { readonly kind: 'stall' }
  /** Half of the body comes, then nothing, and the connection stays open. */
  | { readonly kind: 'stall-in-body' }
  /** What the server refused because it is there is overwritten all the same, by `put`, as a server does that knows no conditions. */
  | { readonly kind: 'overwrite'; readonly put: (path: string, body: Buffer) => Promise<string> }
  /** Bodies come and go so slowly, after so long. */
  | { readonly kind: 'slow'; readonly bytesPerSecond: number; readonly latencyMs: number };

export interface FaultProxy {
  /** URL to give to the client instead of the server's. */
  readonly url: string;
  /** Every request: method and path, and what a CONNECT asks for. */
  readonly requests: string[];
  /** Most connections open at the same time. */
  readonly peakConnections: () => number;
  /** Decides about each request; `n` counts from 1. Undefined lets it pass. */
  fault: (request: IncomingMessage, n: number) => HttpFault | undefined;
  close(): Promise<void>;
}

/** A plain HTTP server in front of another that spoils requests as told. It also serves CONNECT (to loopback only) and absolute URLs, as a forward proxy does. */
export async function startFaultProxy(target: string): Promise<FaultProxy> {
  const sockets = new Set<Socket>();
  let peak = 0;
  const server = createServer((incoming, answer) => {
    proxy.requests.push(`${incoming.method} ${incoming.url}`);
    handle(target, incoming, answer, proxy.fault(incoming, proxy.requests.length)).catch((e: unknown) => answer.destroy(e as Error));
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    peak = Math.max(peak, sockets.size);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
  });
  server.on('connect', (incoming, client) => {
    proxy.requests.push(`CONNECT ${incoming.url}`);
    const { hostname, port } = new URL(`http://${incoming.url}`);
    if (hostname !== '127.0.0.1') {
      client.end('HTTP/1.1 403 Forbidden\r\n\r\n'); // tests leave this machine alone
      return;
    }
    const upstream = connect(Number(port), hostname, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      upstream.pipe(client).pipe(upstream);
    });
    upstream.on('error', () => client.destroy());
    client.on('error', () => upstream.destroy()).on('close', () => upstream.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const proxy: FaultProxy = {
    url: `http://127.0.0.1:${port}`,
    requests: [],
    peakConnections: () => peak,
    fault: () => undefined,
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
  return proxy;
}

async function handle(target: string, incoming: IncomingMessage, answer: ServerResponse, fault: HttpFault | undefined): Promise<void> {
  const bytesPerSecond = fault?.kind === 'slow' ? fault.bytesPerSecond : undefined;
  if (fault?.kind === 'slow') await sleep(fault.latencyMs);
  const body = await buffer(incoming, bytesPerSecond);
  if (fault?.kind === 'stall') return;
  if (fault?.kind === 'drop') {
    incoming.socket.destroy();
    return;
  }
  if (fault?.kind === 'answer') {
    answer.writeHead(fault.status, fault.headers).end(fault.body);
    return;
  }
  const behind = await forward(target, incoming, body);
  if (fault?.kind === 'lose-answer') {
    incoming.socket.destroy();
    return;
  }
  if (fault?.kind === 'overwrite' && behind.status === 412) {
    answer.writeHead(200, { etag: await fault.put(incoming.url ?? '/', body) }).end();
    return;
  }
  const half = behind.body.subarray(0, behind.body.length >> 1);
  if (fault?.kind === 'shorten') {
    answer.writeHead(behind.status, { ...behind.headers, 'content-length': String(half.length) }).end(half);
    return;
  }
  if (fault?.kind === 'damage') behind.body[half.length]! ^= 1;
  answer.writeHead(behind.status, behind.headers);
  if (fault?.kind === 'cut') answer.write(half, () => incoming.socket.destroy());
  else if (fault?.kind === 'stall-in-body') answer.write(half);
  else if (bytesPerSecond !== undefined) await trickle(answer, behind.body, bytesPerSecond);
  else answer.end(behind.body);
}

async function forward(target: string, incoming: IncomingMessage, body: Buffer) {
  // A forward proxy is asked for the whole URL; the signed Host header stays as it is.
  const url = new URL(incoming.url ?? '/', target);
  const request = httpRequest(url, { method: incoming.method ?? 'GET', headers: incoming.headers });
  request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const { 'transfer-encoding': _, ...headers } = response.headers;
  return { status: response.statusCode ?? 0, headers, body: await buffer(response) };
}

/** `bytesPerSecond`: no faster, so that the sender must wait. */
async function buffer(stream: IncomingMessage, bytesPerSecond = Infinity): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    if (bytesPerSecond < Infinity) await sleep((chunk.length * 1000) / bytesPerSecond);
  }
  return Buffer.concat(chunks);
}

const TICK_MS = 50;

async function trickle(answer: ServerResponse, body: Buffer, bytesPerSecond: number): Promise<void> {
  const step = Math.max(1, Math.round((bytesPerSecond * TICK_MS) / 1000));
  for (let at = 0; at < body.length && !answer.destroyed; at += step) {
    answer.write(body.subarray(at, at + step));
    await sleep(TICK_MS);
  }
  answer.end();
}
