// Where the daemon listens: is the place free, or does a Daybook answer there already?

import { accessSync, constants, existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { Client, credentials } from '@grpc/grpc-js';
import { type HostPort, hostPortText, type ListenConfig } from '../../config.ts';
import { type Finding, fault, ok, warn } from './finding.ts';

const ANSWER_MS = 2000;

export async function checkListening({ address, socket, health }: ListenConfig): Promise<Finding[]> {
  const findings: Finding[] = [];
  if (address !== undefined) findings.push(await checkApi(address));
  if (socket !== undefined) findings.push(await checkSocket(socket));
  findings.push(await checkHealth(health));
  return findings;
}

async function checkApi(address: HostPort): Promise<Finding> {
  const place = hostPortText(address);
  const refused = await refusedPort(address);
  if (refused === undefined) return ok('listen.address', `${place} is free`);
  if (refused !== 'EADDRINUSE') return cannotListen('listen.address', place, refused);
  const serving = await isServing(hostPortText(reachable(address)));
  return serving === undefined ? taken('listen.address', place) : answering('listen.address', place, serving);
}

async function checkSocket(path: string): Promise<Finding> {
  if (existsSync(path)) {
    const serving = await isServing(`unix:${path}`);
    if (serving !== undefined) return answering('listen.socket', path, serving);
    return warn(
      'listen.socket',
      `${path} is there and nobody answers: if it is of a daemon that was killed, remove it`,
    );
  }
  try {
    accessSync(dirname(path), constants.W_OK | constants.X_OK);
    return ok('listen.socket', `${path} can be made`);
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    return fault('listen.socket', `${path} cannot be made (${code}): make its folder, writable by this user`);
  }
}

async function checkHealth(address: HostPort): Promise<Finding> {
  const place = hostPortText(address);
  const refused = await refusedPort(address);
  if (refused === undefined) return ok('listen.health', `${place} is free`);
  if (refused !== 'EADDRINUSE') return cannotListen('listen.health', place, refused);
  try {
    const response = await fetch(`http://${hostPortText(reachable(address))}/readyz`, {
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    const state = (await response.json()) as { ready?: boolean; version?: string; parts?: Record<string, string> };
    if (typeof state.ready !== 'boolean') return taken('listen.health', place);
    const daemon = `a Daybook${state.version === undefined ? '' : ` ${state.version}`} answers at ${place}`;
    const wrong = Object.entries(state.parts ?? {}).filter(([, part]) => part !== 'ok');
    const parts = wrong.map(([name, part]) => `${name}: ${part}`).join('; ');
    if (state.ready && wrong.length === 0) return ok('listen.health', `${daemon} and is ready`);
    return warn('listen.health', `${daemon} and is ${state.ready ? 'ready' : 'not ready'}${parts && ` (${parts})`}`);
  } catch {
    return taken('listen.health', place);
  }
}

function taken(key: string, place: string): Finding {
  return fault(key, `${place} belongs to another program: stop that, or listen elsewhere`);
}

function answering(key: string, place: string, serving: boolean): Finding {
  const daemon = `a gRPC server answers at ${place}`;
  return serving ? ok(key, `${daemon} and is serving`) : warn(key, `${daemon} and says that it is not serving`);
}

function cannotListen(key: string, place: string, code: string): Finding {
  const why: { [code: string]: string } = {
    EACCES: 'this user may not listen there: take a port above 1023',
    EADDRNOTAVAIL: 'this machine has no such address: name one of its own',
    ENOTFOUND: 'its name is not known: name an address of this machine',
  };
  return fault(key, `${place} cannot be listened on: ${why[code] ?? code}`);
}

/** Why nobody can listen there now; `undefined` when somebody can. */
function refusedPort({ host, port }: HostPort): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

function reachable({ host, port }: HostPort): HostPort {
  return { host: host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host, port };
}

/** What grpc.health.v1 says; `undefined` when nothing answers that way. */
function isServing(address: string): Promise<boolean | undefined> {
  const client = new Client(address, credentials.createInsecure());
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      '/grpc.health.v1.Health/Check',
      (bytes: Buffer) => bytes,
      // HealthCheckResponse { ServingStatus status = 1 }, SERVING = 1.
      (bytes: Buffer) => bytes[0] === 8 && bytes[1] === 1,
      Buffer.alloc(0),
      { deadline: Date.now() + ANSWER_MS },
      (error, serving) => {
        client.close();
        resolve(error === null ? serving : undefined);
      },
    );
  });
}
