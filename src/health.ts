// Health for probes, over plain HTTP: /livez answers as long as the process does, /readyz when commands are accepted. Both
// say why, as JSON.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Readiness {
  ready: boolean;
  /** Of the daemon. */
  version: string;
  /** Name of a part → what is wrong with it, or `ok`. */
  parts: Record<string, string>;
}

export interface HealthServer {
  /** `host:port`. */
  readonly address: string;
  close(): Promise<void>;
}

export async function openHealth(
  listen: { host: string; port: number },
  readiness: () => Readiness,
): Promise<HealthServer> {
  const server = createServer((request, response) => {
    const path = request.url?.split('?')[0];
    const answer = (status: number, body: object) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify(body)}\n`);
    };
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, { error: 'expected GET' });
    if (path === '/livez') return answer(200, { alive: true });
    if (path !== '/readyz') return answer(404, { error: 'expected /livez or /readyz' });
    const state = readiness();
    answer(state.ready ? 200 : 503, state);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new Error(`cannot listen on ${listen.host}:${listen.port}: ${cause.message}`, { cause })),
    );
    server.listen(listen.port, listen.host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    address: listen.host.includes(':') ? `[${listen.host}]:${port}` : `${listen.host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
