// The shapes of the wire contract, as the model sees them. They are structurally the generated messages, so nothing is
// copied between the two; see proto/daybook/v1/types.proto for what each field means.

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

/** Bytes that a page costs in memory and on the wire, near enough for limits: payload, type and a constant. */
export function pageBytes(page: { event: Any | undefined }): number {
  return page.event === undefined ? 128 : 128 + page.event.value.length + page.event.typeUrl.length;
}

/** The name in a type URL: what follows the last slash. */
export function typeName(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf('/') + 1);
}

export interface CommandResponse {
  events: EventBook | undefined;
  projections: never[];
  reactionErrors: never[];
  position: number;
  duplicate: boolean;
  settled: boolean;
  consistencyToken: string;
}
