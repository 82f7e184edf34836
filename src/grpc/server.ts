// Registers everything that the gRPC API offers. What is not built yet is not registered: the transport answers UNIMPLEMENTED.

import { lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { Server, ServerCredentials, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { ComponentHostDefinition } from '../gen/daybook/v1/component.ts';
import { ControlDefinition } from '../gen/daybook/v1/control.ts';
import {
  BusinessCoordinatorDefinition,
  ProcessManagerCoordinatorDefinition,
  ProjectorCoordinatorDefinition,
  SagaCoordinatorDefinition,
} from '../gen/daybook/v1/coordinators.ts';
import { DeadLettersDefinition } from '../gen/daybook/v1/dead_letters.ts';
import { CommandGatewayDefinition } from '../gen/daybook/v1/gateway.ts';
import { PayloadsDefinition } from '../gen/daybook/v1/payloads.ts';
import { PositionsDefinition } from '../gen/daybook/v1/positions.ts';
import { ProjectionsDefinition } from '../gen/daybook/v1/projections.ts';
import { EventQueryDefinition, EventStreamDefinition } from '../gen/daybook/v1/query.ts';
import { type BusinessServiceParts, businessService } from './business.ts';
import { type ComponentHostParts, componentHostService } from './component-host.ts';
import { type ControlServiceParts, controlService } from './control.ts';
import {
  type CoordinatorsParts,
  processManagerCoordinatorService,
  projectorCoordinatorService,
  sagaCoordinatorService,
} from './coordinators.ts';
import { type DeadLettersServiceParts, deadLettersService } from './dead-letters.ts';
import { type GenericService, serverDefinition } from './definition.ts';
import { gatewayService } from './gateway.ts';
import { HealthService } from './health.ts';
import { type PayloadsParts, payloadsService } from './payloads.ts';
import { type PositionsParts, positionsService } from './positions.ts';
import { type ProjectionsServiceParts, projectionsService } from './projections.ts';
import { eventStreamService, type QueryServiceParts, queryService } from './query.ts';
import { addReflection } from './reflection.ts';

export type ServerParts = BusinessServiceParts &
  QueryServiceParts &
  PayloadsParts &
  ComponentHostParts &
  ProjectionsServiceParts &
  DeadLettersServiceParts &
  ControlServiceParts &
  CoordinatorsParts &
  PositionsParts;

export interface ApiServer {
  /** The address that was bound, `host:port`; absent when it does not listen there. */
  readonly address: string | undefined;
  readonly socket: string | undefined;
  setServing(serving: boolean): void;
  /** Ends idle connections and idle streams, waits for calls under way, at most so long. */
  close(timeoutMs: number): Promise<void>;
}

/** Above the largest configurable message, so that TOO_LARGE is ours to say. */
export const HARD_LIMIT_BYTES = 32 << 20;

export async function openServer(
  parts: ServerParts,
  listen: { address: { host: string; port: number } | undefined; socket: string | undefined; reflection: boolean },
): Promise<ApiServer> {
  const server = new Server({
    'grpc.max_receive_message_length': HARD_LIMIT_BYTES,
    'grpc.max_send_message_length': HARD_LIMIT_BYTES,
    // A component or client whose machine vanished is noticed.
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
  });
  const closing = new AbortController();
  const services: [GenericService, UntypedServiceImplementation][] = [
    [CommandGatewayDefinition, gatewayService(parts, closing.signal)],
    [BusinessCoordinatorDefinition, businessService(parts)],
    [ProjectorCoordinatorDefinition, projectorCoordinatorService(parts)],
    [SagaCoordinatorDefinition, sagaCoordinatorService(parts)],
    [ProcessManagerCoordinatorDefinition, processManagerCoordinatorService(parts)],
    [PositionsDefinition, positionsService(parts)],
    [EventQueryDefinition, queryService(parts)],
    [EventStreamDefinition, eventStreamService(parts)],
    [PayloadsDefinition, payloadsService(parts)],
    [ProjectionsDefinition, projectionsService(parts, closing.signal)],
    [DeadLettersDefinition, deadLettersService(parts)],
    [ControlDefinition, controlService(parts, closing.signal)],
    [ComponentHostDefinition, componentHostService(parts)],
  ];
  for (const [service, implementation] of services) {
    server.addService(serverDefinition(service, parts.limits.messageBytes), implementation);
  }
  const names = ['', ...services.map(([service]) => service.fullName)];
  const health = new HealthService(server, names);
  if (listen.reflection) addReflection(server, [...names.slice(1), 'grpc.health.v1.Health'], parts.log);

  const { address } = listen;
  const port = address && (await bind(server, hostPort(address.host, address.port)));
  if (listen.socket !== undefined) {
    await removeStaleSocket(listen.socket);
    await bind(server, `unix:${listen.socket}`);
  }
  return {
    address: address && hostPort(address.host, port!),
    socket: listen.socket,
    setServing: (serving) => health.setServing(serving),
    close: (timeoutMs) => {
      closing.abort();
      health.close();
      return close(server, timeoutMs);
    },
  };
}

export function bind(
  server: Server,
  target: string,
  credentials = ServerCredentials.createInsecure(),
): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(target, credentials, (error, port) => {
      if (error === null) resolve(port);
      else reject(new Error(`cannot listen on ${target}: ${error.message}`, { cause: error }));
    });
  });
}

/** A daemon that was killed leaves its socket behind. Where somebody answers, or what is no socket, stays. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (!found?.isSocket()) return;
  const refused = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(false);
    });
    probe.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
  if (refused) await unlink(path);
}

export function close(server: Server, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      server.forceShutdown();
      resolve();
    }, timeoutMs);
    server.tryShutdown(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

export function hostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
