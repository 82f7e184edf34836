// What is remembered under an idempotency key: enough to give the first answer again. Events are not copied: they are in
// the log, and the outcome says where.

import { hash } from 'node:crypto';
import {
  type Any,
  type CommandBook,
  type Cover,
  type EventPage,
  type Origin,
  type Rejection,
  typeName,
} from '../model/book.ts';
import type { StreamKey } from '../model/stream.ts';

export type OutcomeBody =
  | { kind: 'events'; firstSequence: number; count: number; correlationId: string }
  | {
      kind: 'rejection';
      rejection: Rejection;
      /** What was asked, for those who look for it later. */
      cover: Cover;
      origin: Origin | undefined;
      /** Full type names. */
      commands: string[];
      decidedAtMicros: number;
    };

export function rejectionBody(command: CommandBook, rejection: Rejection, decidedAtMicros: number): OutcomeBody {
  const commands = command.pages.map((page) => typeName(page.command!.typeUrl));
  return { kind: 'rejection', rejection, cover: command.cover!, origin: command.origin, commands, decidedAtMicros };
}

/** Bytes: 1, first sequence, count, correlation id; or 2 and a rejection as JSON, with bytes in base64. */
export function encodeOutcome(body: OutcomeBody): Uint8Array {
  if (body.kind === 'events') {
    const bytes = Buffer.allocUnsafe(9 + body.correlationId.length);
    bytes[0] = 1;
    bytes.writeUInt32BE(body.firstSequence, 1);
    bytes.writeUInt32BE(body.count, 5);
    bytes.write(body.correlationId, 9, 'latin1');
    return bytes;
  }
  return Buffer.concat([Buffer.of(2), Buffer.from(JSON.stringify(body, bytesToText))]);
}

export function decodeOutcome(stored: Uint8Array): OutcomeBody {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.length);
  if (bytes[0] === 1) {
    return {
      kind: 'events',
      firstSequence: bytes.readUInt32BE(1),
      count: bytes.readUInt32BE(5),
      correlationId: bytes.toString('latin1', 9),
    };
  }
  if (bytes[0] !== 2) throw new Error(`an idempotency outcome of an unknown kind ${bytes[0]} is stored`);
  return JSON.parse(bytes.toString('utf8', 1), textToBytes);
}

/** `this` holds the value as it was before JSON.stringify asked it for a form of its own. */
function bytesToText(this: unknown, key: string, value: unknown): unknown {
  const original = (this as Record<string, unknown>)[key];
  return original instanceof Uint8Array ? { base64: Buffer.from(original).toString('base64') } : value;
}

function textToBytes(_: string, value: { base64?: unknown } | null): unknown {
  return typeof value?.base64 === 'string' ? Buffer.from(value.base64, 'base64') : value;
}

/** Of what a command asks: tenant, domain, root and each page's type URL and bytes, each preceded by its length. SHA-256. */
export function commandHash(stream: StreamKey, command: CommandBook): Uint8Array {
  return payloadsHash(
    stream,
    command.pages.map((page) => page.command!),
  );
}

/** The same of a fact. */
export function factHash(stream: StreamKey, page: EventPage): Uint8Array {
  return payloadsHash(stream, [page.event!]);
}

/** One call for all parts: a digest that is fed in pieces takes twice as long. */
function payloadsHash({ tenant, domain, root }: StreamKey, payloads: readonly Any[]): Uint8Array {
  const parts: (string | Uint8Array)[] = [tenant, domain, root];
  for (const { typeUrl, value } of payloads) parts.push(typeUrl, value);
  let total = 0;
  for (const part of parts) total += 4 + sizeOf(part);
  const bytes = Buffer.allocUnsafe(total);
  let at = 0;
  for (const part of parts) {
    const size = typeof part === 'string' ? bytes.write(part, at + 4) : part.length;
    if (typeof part !== 'string') bytes.set(part, at + 4);
    bytes.writeUInt32BE(size, at);
    at += 4 + size;
  }
  return hash('sha256', bytes, 'buffer');
}

function sizeOf(part: string | Uint8Array): number {
  return typeof part === 'string' ? Buffer.byteLength(part) : part.length;
}
