// Commands and payloads of a small domain of the tests' own: an account. Payloads are text, so that failures read well.

import { randomBytes } from 'node:crypto';
import type { Any, CommandBook, EventBook, EventPage } from '../../src/model/book.ts';

export function any(type: string, text = ''): Any {
  return { typeUrl: `type.test/account.${type}`, value: Buffer.from(text) };
}

export function textOf(payload: Any | undefined): string {
  return Buffer.from(payload!.value).toString();
}

export function typeOf(payload: Any | undefined): string {
  return payload!.typeUrl.slice('type.test/account.'.length);
}

export function newRoot(): Uint8Array {
  return new Uint8Array(randomBytes(16));
}

export interface CommandOptions {
  domain?: string;
  tenant?: string;
  correlationId?: string;
  key?: string;
  sequence?: number;
  workId?: string;
}

export function command(root: Uint8Array, payloads: Any | Any[], options: CommandOptions = {}): CommandBook {
  const pages = (Array.isArray(payloads) ? payloads : [payloads]).map((payload, i) => ({
    sequence: i === 0 ? options.sequence : undefined,
    command: payload,
  }));
  return {
    cover: {
      root: { value: root },
      domain: options.domain ?? 'account',
      correlationId: options.correlationId ?? '',
      tenant: options.tenant ?? '',
    },
    pages,
    origin: undefined,
    idempotencyKey: options.key ?? '',
    metadata: {},
    workId: options.workId ?? '',
  };
}

export function eventPage(payload: Any): EventPage {
  return {
    sequence: 0,
    createdAt: undefined,
    event: payload,
    position: 0,
    origin: undefined,
    metadata: {},
    unitId: new Uint8Array(),
    occurredAt: undefined,
  };
}

export function eventBook(payloads: Any[]): EventBook {
  return {
    cover: undefined,
    snapshot: undefined,
    pages: payloads.map(eventPage),
    nextSequence: 0,
    consistencyToken: '',
  };
}
