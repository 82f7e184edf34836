// What other daemons of this log may ask of this one, on a port of its own. Nothing else is served there.

import { timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Metadata, Server, ServerCredentials, type UntypedServiceImplementation } from '@grpc/grpc-js';
import type { Secret } from '../config.ts';
import type { BusinessCoordinator } from '../coordinators/business.ts';
import type { DryRunner } from '../coordinators/dry-run.ts';
import type { FactRecorder } from '../coordinators/facts.ts';
import { DaybookError, invalid } from '../errors.ts';
import type { DryRunRequest, DryRunResponse } from '../gen/daybook/v1/coordinators.ts';
import type { Error as WireError } from '../gen/daybook/v1/errors.ts';
import {
  type ForwardedAnswer,
  type ForwardedDryRun,
  type ForwardedDryRunAnswer,
  type ForwardedWork,
  PeersDefinition,
} from '../gen/daybook/v1/peers.ts';
import type { CommandResponse } from '../gen/daybook/v1/types.ts';
import { dryRunAnswer } from './business.ts';
import { type CallParts, unary } from './calls.ts';
import { serverDefinition } from './definition.ts';
import { pointOf } from './query.ts';
import { bind, close, HARD_LIMIT_BYTES, hostPort } from './server.ts';
import { wireErrorOf } from './status.ts';

export interface PeersServiceParts extends CallParts {
  /** What this daemon hosts. */
  here: {
    business: Pick<BusinessCoordinator, 'execute'>;
    facts: Pick<FactRecorder, 'record'>;
    dryRunner: Pick<DryRunner, 'run'>;
  };
  limits: { messageBytes: number };
}

/** By which daemons know each other: a token, certificates of one authority, or both. */
export interface PeerIdentity {
  token: Secret | undefined;
  /** Paths. */
  tls: { cert: string; key: string; ca: string } | undefined;
}

export interface PeersServer {
  /** host:port */
  readonly address: string;
  readonly port: number;
  /** Whoever asks is told that the daemon is stopping. */
  drain(): void;
  close(timeoutMs: number): Promise<void>;
}

/** Beside the command that it carries. */
export const ENVELOPE_BYTES = 64 * 1024;

export async function openPeersServer(
  parts: PeersServiceParts,
  listen: { host: string; port: number },
  identity: PeerIdentity,
): Promise<PeersServer> {
  const server = new Server({
    'grpc.max_receive_message_length': HARD_LIMIT_BYTES,
    'grpc.max_send_message_length': HARD_LIMIT_BYTES,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
  });
  let draining = false;
  const check = (metadata: Metadata) => {
    checkToken(metadata, identity.token);
    if (draining) throw new DaybookError('SHUTTING_DOWN', 'the daemon is stopping; nothing was stored');
  };
  const definition = serverDefinition(PeersDefinition, parts.limits.messageBytes + ENVELOPE_BYTES);
  server.addService(definition, peersService(parts, check));
  const port = await bind(server, hostPort(listen.host, listen.port), serverCredentials(identity));
  return {
    address: hostPort(listen.host, port),
    port,
    drain: () => {
      draining = true;
    },
    close: (timeoutMs) => close(server, timeoutMs),
  };
}

function peersService(parts: PeersServiceParts, check: (metadata: Metadata) => void): UntypedServiceImplementation {
  const { here, log } = parts;
  return {
    execute: unary(parts, async ({ work, hops, ancestors }: ForwardedWork, caller, call): Promise<ForwardedAnswer> => {
      check(call.metadata);
      const forwarded = { ...caller, ancestors };
      return answerOf<CommandResponse>(log, () => {
        checkHops(hops);
        switch (work?.$case) {
          case 'command':
            return here.business.execute(work.value, forwarded);
          case 'facts':
            return here.facts.record(work.value.facts, work.value.askAggregate, forwarded);
          case undefined:
            throw invalid('work', 'work: expected a command or facts, found neither');
        }
      });
    }),

    dryRun: unary(parts, async ({ request, hops }: ForwardedDryRun, caller, call): Promise<ForwardedDryRunAnswer> => {
      check(call.metadata);
      return answerOf<DryRunResponse>(log, async () => {
        checkHops(hops);
        const { command, asOf } = request ?? ({} as Partial<DryRunRequest>);
        if (command === undefined) throw invalid('request', 'request: expected a command book, found none');
        return dryRunAnswer(
          await here.dryRunner.run(command, asOf && pointOf(asOf, 'as_of'), { ...caller, ancestors: [] }),
        );
      });
    }),
  };
}

/** Statuses have no room for all that an error may carry. */
async function answerOf<T>(log: CallParts['log'], run: () => Promise<T>) {
  try {
    return { result: { $case: 'response' as const, value: await run() } };
  } catch (error) {
    const value: WireError = wireErrorOf(error, log);
    return { result: { $case: 'error' as const, value } };
  }
}

function checkHops(hops: number): void {
  if (hops !== 1) throw invalid('hops', `hops: expected 1, since nothing is passed on twice, found ${hops}`);
}

function checkToken(metadata: Metadata, token: Secret | undefined): void {
  if (token === undefined) return;
  const [given] = metadata.get('authorization');
  const expected = Buffer.from(`Bearer ${token.reveal()}`);
  const found = Buffer.from(typeof given === 'string' ? given : '');
  if (found.length === expected.length && timingSafeEqual(found, expected)) return;
  const what = given === undefined ? 'found none' : 'found another one';
  throw new DaybookError('UNAUTHENTICATED', `expected the token of this log's daemons, ${what}`);
}

function serverCredentials({ tls }: PeerIdentity): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const pair = { private_key: readFileSync(tls.key), cert_chain: readFileSync(tls.cert) };
  return ServerCredentials.createSsl(readFileSync(tls.ca), [pair], true);
}
