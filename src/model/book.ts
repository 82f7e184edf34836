// The shapes of the wire contract, as the model sees them. They are structurally the generated messages, so nothing is
// copied between the two; see proto/daybook/v1/types.proto for what each field means.

import type { Projection, ReactionError } from './reaction.ts';

export interface Uuid {
  /** 16 bytes. */
  value: Uint8Array;
}

export interface Timestamp {
  seconds: number;
  nanos: number;
}

export interface Duration {
  seconds: number;
  nanos: number;
}

/** An opaque payload with its type URL. */
export interface Any {
  typeUrl: string;
  value: Uint8Array;
}

export interface Cover {
  root: Uuid | undefined;
  domain: string;
  correlationId: string;
  tenant: string;
}

export interface Origin {
  component: string;
  source: Cover | undefined;
  sourceSequence: number;
  sourcePosition: number;
  logId: string;
  index: number;
  depth: number;
  externalSource: string;
  externalId: string;
  commands: string[];
}

/** Of what nobody but a client caused. */
export const NO_ORIGIN: Origin = Object.freeze({
  component: '',
  source: undefined,
  sourceSequence: 0,
  sourcePosition: 0,
  logId: '',
  index: 0,
  depth: 0,
  externalSource: '',
  externalId: '',
  commands: [],
});

export interface EventPage {
  sequence: number;
  createdAt: Timestamp | undefined;
  event: Any | undefined;
  position: number;
  origin: Origin | undefined;
  metadata: { [key: string]: string };
  unitId: Uint8Array;
  occurredAt: Timestamp | undefined;
}

/** Most events have none: they share this, which nobody can write to. */
export const NO_METADATA: { [key: string]: string } = Object.freeze({});

export const SNAPSHOT_LATEST = 0;
export const SNAPSHOT_KEEP = 1;

export interface Snapshot {
  sequence: number;
  state: Any | undefined;
  /** SNAPSHOT_LATEST or SNAPSHOT_KEEP. */
  retention: -1 | 0 | 1;
  schemaVersion: number;
}

export interface EventBook {
  cover: Cover | undefined;
  snapshot: Snapshot | undefined;
  pages: EventPage[];
  nextSequence: number;
  consistencyToken: string;
}

export interface CommandPage {
  sequence?: number | undefined;
  command: Any | undefined;
}

export interface CommandBook {
  cover: Cover | undefined;
  pages: CommandPage[];
  origin: Origin | undefined;
  idempotencyKey: string;
  metadata: { [key: string]: string };
  workId: string;
}

export interface Rejection {
  /** RejectionKind of the wire: 0 unspecified (read as conflict), 1 invalid, 2 conflict, 3 not found, 4 denied. */
  kind: -1 | 0 | 1 | 2 | 3 | 4;
  code: string;
  message: string;
  details: Any | undefined;
  page: number;
}

/** Bytes that a payload costs in memory and on the wire, near enough for limits. */
export function payloadBytes(payload: Any | undefined): number {
  return payload === undefined ? 64 : 64 + payload.value.length + payload.typeUrl.length;
}

/** The same of a page: payload, metadata, origin and a constant. */
export function pageBytes(page: EventPage): number {
  return 64 + payloadBytes(page.event) + metadataBytes(page.metadata) + originBytes(page.origin);
}

export function metadataBytes(metadata: { [key: string]: string }): number {
  let bytes = 0;
  for (const key in metadata) bytes += 4 + utf8Length(key) + utf8Length(metadata[key]!);
  return bytes;
}

function originBytes(origin: Origin | undefined): number {
  if (origin === undefined) return 0;
  let bytes = origin.source === undefined ? 0 : 256;
  bytes += origin.component.length + origin.logId.length + origin.externalSource.length + origin.externalId.length;
  for (const command of origin.commands) bytes += 2 + command.length;
  return bytes;
}

/** Of a text in UTF-8, without making the bytes. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    // Each half of a surrogate pair is one unit and two of its four bytes.
    if (unit > 0x7f) bytes += unit > 0x7ff && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return bytes;
}

/** The name in a type URL: what follows the last slash. */
export function typeName(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf('/') + 1);
}

export interface CommandResponse {
  events: EventBook | undefined;
  projections: Projection[];
  reactionErrors: ReactionError[];
  position: number;
  duplicate: boolean;
  settled: boolean;
  consistencyToken: string;
}
