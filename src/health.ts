// Health for probes, over plain HTTP: /livez answers as long as the process does, /readyz when commands are accepted. Both
// say why, as JSON.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Health {
  /** `host:port`. */
  readonly address: string;
  /** What is wrong with them, or `ok`. When both are, commands are accepted. */
  readonly state: { daemon: string; store: string };
  /** The same of components, by name. They do not make the daemon unready. */
  components: () => Record<string, string>;
  close(): Promise<void>;
}

export async function openHealth(listen: { host: string; port: number }, version: string): Promise<Health> {
  const server = createServer((request, response) => {
    const path = request.url?.split('?')[0];
    const answer = (status: number, body: object) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify(body)}\n`);
    };
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, { error: 'expected GET' });
    if (path === '/livez') return answer(200, { alive: true });
    if (path !== '/readyz') return answer(404, { error: 'expected /livez or /readyz' });
    const { state } = health;
    const ready = state.daemon === 'ok' && state.store === 'ok';
    answer(ready ? 200 : 503, { ready, version, parts: { ...state, ...health.components() } });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new Error(`cannot listen on ${listen.host}:${listen.port}: ${cause.message}`, { cause })),
    );
    server.listen(listen.port, listen.host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  const health: Health = {
    address: listen.host.includes(':') ? `[${listen.host}]:${port}` : `${listen.host}:${port}`,
    state: { daemon: 'starting', store: 'not open yet' },
    components: () => ({}),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return health;
}
