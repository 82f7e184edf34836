// What is remembered under an idempotency key: enough to give the first answer again. Events are not copied: they are in
// the log, and the outcome says where.

import { createHash } from 'node:crypto';
import type { CommandBook, Rejection } from '../model/book.ts';
import type { StreamKey } from '../model/stream.ts';

export type OutcomeBody =
  | { kind: 'events'; firstSequence: number; count: number; correlationId: string }
  | { kind: 'rejection'; rejection: Rejection };

/** Bytes: 1, first sequence, count, correlation id; or 2 and a rejection as JSON. */
export function encodeOutcome(body: OutcomeBody): Uint8Array {
  if (body.kind === 'events') {
    const bytes = Buffer.allocUnsafe(9 + body.correlationId.length);
    bytes[0] = 1;
    bytes.writeUInt32BE(body.firstSequence, 1);
    bytes.writeUInt32BE(body.count, 5);
    bytes.write(body.correlationId, 9, 'latin1');
    return bytes;
  }
  const { kind, code, message, page, details } = body.rejection;
  const detailsText = details && { typeUrl: details.typeUrl, value: Buffer.from(details.value).toString('base64') };
  return Buffer.concat([
    Buffer.of(2),
    Buffer.from(JSON.stringify({ kind, code, message, page, details: detailsText })),
  ]);
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
  const parsed = JSON.parse(bytes.toString('utf8', 1)) as Rejection & { details?: { typeUrl: string; value: string } };
  const details = parsed.details && {
    typeUrl: parsed.details.typeUrl,
    value: Buffer.from(String(parsed.details.value), 'base64'),
  };
  return { kind: 'rejection', rejection: { ...parsed, details } };
}

/** Of what a command asks: tenant, domain, root and each page's type URL and bytes, each preceded by its length. SHA-256. */
export function commandHash(stream: StreamKey, command: CommandBook): Uint8Array {
  const hash = createHash('sha256');
  const size = Buffer.allocUnsafe(4);
  const add = (part: string | Uint8Array) => {
    size.writeUInt32BE(typeof part === 'string' ? Buffer.byteLength(part) : part.length);
    hash.update(size);
    hash.update(part);
  };
  add(stream.tenant);
  add(stream.domain);
  add(stream.root);
  for (const page of command.pages) {
    add(page.command!.typeUrl);
    add(page.command!.value);
  }
  return hash.digest();
}
