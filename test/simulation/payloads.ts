// Payloads of the simulation's own domains are JSON: failures and traces read well.

import { bodies } from '../../src/components/bodies.ts';
import type { Any, CommandBook, Cover, EventBook, EventPage, Origin } from '../../src/model/book.ts';

export interface Data {
  [field: string]: number | string | boolean | undefined;
}

export interface Said {
  type: string;
  data: Data;
}

const NOTIFICATION = 'daybook.v1.RejectionNotification';

export function payload(type: string, data: Data): Any {
  return { typeUrl: `sim/${type}`, value: Buffer.from(JSON.stringify(data)) };
}

/** The rejection of a command reads as that command's data, under a type of its own. */
export function said({ typeUrl, value }: Any): Said {
  const type = typeUrl.slice(typeUrl.lastIndexOf('/') + 1);
  if (type !== NOTIFICATION) return { type, data: value.length === 0 ? {} : JSON.parse(textOf(value)) };
  const { command } = bodies.unpackNotification({ typeUrl, value });
  const refused = said(command!.pages[0]!.command!);
  return { type: 'Refused', data: { ...refused.data, refused: refused.type } };
}

/** Of the bytes as they lie: a copy of them would cost as much again. */
function textOf({ buffer, byteOffset, length }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, length).toString();
}

/** Aggregates have numbers. */
export function rootOf(number: number): Uint8Array {
  const root = new Uint8Array(16);
  root[0] = 0x70;
  root[14] = number >> 8;
  root[15] = number;
  return root;
}

export function numberOf(root: Uint8Array): number {
  return root[14]! * 256 + root[15]!;
}

export function coverOf(domain: string, root: number, correlationId: string): Cover {
  return { root: { value: rootOf(root) }, domain, correlationId, tenant: '' };
}

export function commandBook(cover: Cover, type: string, data: Data): CommandBook {
  const pages = [{ sequence: undefined, command: payload(type, data) }];
  return { cover, pages, origin: undefined, idempotencyKey: '', metadata: {}, workId: '' };
}

export function eventPage(type: string, data: Data, origin?: Origin): EventPage {
  return {
    sequence: 0,
    createdAt: undefined,
    event: payload(type, data),
    position: 0,
    origin,
    metadata: {},
    unitId: new Uint8Array(),
    occurredAt: undefined,
  };
}

export function eventBook(cover: Cover | undefined, pages: EventPage[]): EventBook {
  return { cover, snapshot: undefined, pages, nextSequence: 0, consistencyToken: '' };
}
