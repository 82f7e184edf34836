// What a book must look like before anything is done with it. Every check names the field as the wire does.

import { DaybookError, invalid } from '../errors.ts';
import {
  type Any,
  type CommandBook,
  type Cover,
  metadataBytes,
  payloadBytes,
  type Timestamp,
  utf8Length,
} from './book.ts';
import type { StreamKey } from './stream.ts';

export interface CommandLimits {
  payloadBytes: number;
  pagesPerCommand: number;
}

/** Of all metadata of one page. */
export const METADATA_BYTES = 16_384;

export const DOMAIN = /^[a-z][a-z0-9_-]{0,63}$/;
/** A full type name, as it follows the last slash of a type URL. A comma is none of it, so that no list passes for one name. */
export const TYPE_NAME = /^[\x21-\x2b\x2d\x2e\x30-\x7e]{1,512}$/;
const CORRELATION_ID = /^[\x20-\x7e]{1,128}$/;
const IDEMPOTENCY_KEY = /^[\x20-\x7e]{1,128}$/;
const TENANT = /^[\x21-\x2e\x30-\x7e]{0,64}$/;
const TYPE_URL = /^[\x21-\x7e]*\/[\x21-\x2e\x30-\x7e]+$/;

/** The stream that a cover names, or INVALID_ARGUMENT. */
export function streamOf(cover: Cover | undefined, field = 'cover'): StreamKey {
  if (cover === undefined) throw invalid(field, `${field}: expected a cover with domain and root, found none`);
  checkTenant(cover.tenant, `${field}.tenant`);
  if (!DOMAIN.test(cover.domain)) {
    throw invalid(`${field}.domain`, `${field}.domain: expected ${DOMAIN.source}, found ${quote(cover.domain)}`);
  }
  const root = cover.root?.value;
  if (root === undefined || root.length !== 16) {
    const found = root === undefined ? 'none' : `${root.length} bytes`;
    throw invalid(`${field}.root`, `${field}.root: expected a UUID of 16 bytes, found ${found}`);
  }
  return { tenant: cover.tenant, domain: cover.domain, root };
}

export function checkTenant(tenant: string, field = 'tenant'): void {
  if (!TENANT.test(tenant)) {
    throw invalid(
      field,
      `${field}: expected at most 64 printable ASCII characters without '/', found ${quote(tenant)}`,
    );
  }
}

/** Empty is allowed: one is made. */
export function checkCorrelationId(id: string, field = 'cover.correlation_id'): void {
  if (id !== '' && !CORRELATION_ID.test(id)) {
    throw invalid(field, `${field}: expected at most 128 printable ASCII characters, found ${quote(id)}`);
  }
}

/** INVALID_ARGUMENT or TOO_LARGE, or the stream that the command is for. */
export function checkCommand(command: CommandBook, limits: CommandLimits): StreamKey {
  const stream = streamOf(command.cover);
  checkCorrelationId(command.cover!.correlationId);
  if (command.idempotencyKey !== '' && !IDEMPOTENCY_KEY.test(command.idempotencyKey)) {
    throw invalid('idempotency_key', 'idempotency_key: expected at most 128 printable ASCII characters');
  }
  const count = command.pages.length;
  if (count < 1 || count > limits.pagesPerCommand) {
    throw invalid('pages', `pages: expected 1 to ${limits.pagesPerCommand} command pages, found ${count}`);
  }
  for (let i = 0; i < count; i++) {
    const page = command.pages[i]!;
    checkPayload(page.command, `pages[${i}].command`, limits.payloadBytes);
    if (i > 0 && page.sequence !== undefined) {
      throw invalid(`pages[${i}].sequence`, `pages[${i}].sequence: only the first page may carry a sequence`);
    }
  }
  checkMetadata(command.metadata, 'metadata');
  return stream;
}

/** An Any that is there, has a type and fits. */
export function checkPayload(payload: Any | undefined, field: string, limitBytes: number): void {
  if (payload === undefined) throw invalid(field, `${field}: expected a payload, found none`);
  if (!TYPE_URL.test(payload.typeUrl) || payload.typeUrl.length > 512) {
    throw invalid(
      `${field}.type_url`,
      `${field}.type_url: expected a type URL such as type.example.com/shop.v1.PlaceOrder, found ${quote(payload.typeUrl)}`,
    );
  }
  if (payload.value.length > limitBytes) throw tooLarge(field, payload.value.length, limitBytes);
}

export function checkMetadata(metadata: { [key: string]: string }, field: string): void {
  let size = 0;
  for (const key in metadata) {
    const value = metadata[key]!;
    if (key.includes('\0') || value.includes('\0')) throw invalid(field, `${field}: a NUL character is not allowed`);
    size += utf8Length(key) + utf8Length(value);
  }
  if (size > METADATA_BYTES) throw tooLarge(field, size, METADATA_BYTES);
}

/** Absent is allowed. */
export function checkTime(time: Timestamp | undefined, field: string): void {
  if (time === undefined || (Math.abs(time.seconds) < 8e9 && time.nanos >= 0 && time.nanos < 1e9)) return;
  throw invalid(field, `${field}: not a time between 1717 and 2223`);
}

export function tooLarge(field: string, size: number, limit: number): DaybookError {
  return new DaybookError('TOO_LARGE', `${field}: expected at most ${limit} bytes, found ${size}`, {
    metadata: { field, size, limit },
  });
}

/** What a command costs, for limits in bytes. */
export function commandBytes(command: CommandBook): number {
  let bytes = metadataBytes(command.metadata);
  for (const page of command.pages) bytes += payloadBytes(page.command);
  return bytes;
}

function quote(text: string): string {
  return text === '' ? 'nothing' : JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
