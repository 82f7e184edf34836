// What a component decided becomes what is stored. The component says what happened; everything else is ours.

import { DaybookError } from '../errors.ts';
import {
  type CommandBook,
  type EventBook,
  type EventPage,
  NO_ORIGIN,
  type Origin,
  pageBytes,
  type Rejection,
  type Snapshot,
  type Timestamp,
  typeName,
} from './book.ts';
import { type StreamKey, sameBytes, streamText } from './stream.ts';
import { checkMetadata, checkPayload } from './validation.ts';

export interface DecisionLimits {
  payloadBytes: number;
  eventsPerReply: number;
  eventBytesPerReply: number;
  messageBytes: number;
}

export interface Stamp {
  stream: StreamKey;
  command: CommandBook;
  /** The sequence that the first event gets. */
  nextSequence: number;
  createdAt: Timestamp;
  unitId: Uint8Array;
}

export interface StampedDecision {
  pages: EventPage[];
  snapshot: Snapshot | undefined;
}

/** The pages and the snapshot to store, or COMPONENT_FAULT with what is wrong with the reply. */
export function stampDecision(reply: EventBook, stamp: Stamp, limits: DecisionLimits): StampedDecision {
  checkCover(reply, stamp);
  const count = reply.pages.length;
  if (count > limits.eventsPerReply) {
    throw fault(stamp.stream, `expected at most ${limits.eventsPerReply} events in one reply, found ${count}`);
  }
  let bytes = 0;
  const pages: EventPage[] = [];
  const origin = originOf(stamp.command);
  for (let i = 0; i < count; i++) {
    const page = reply.pages[i]!;
    checkPage(page, i, stamp, limits);
    const stamped: EventPage = {
      sequence: stamp.nextSequence + i,
      createdAt: stamp.createdAt,
      event: page.event,
      position: 0,
      origin,
      metadata: merge(stamp.command.metadata, page.metadata),
      unitId: stamp.unitId,
      occurredAt: undefined,
    };
    bytes += pageBytes(stamped);
    pages.push(stamped);
  }
  if (bytes > limits.eventBytesPerReply) {
    throw fault(
      stamp.stream,
      `expected at most ${limits.eventBytesPerReply} bytes of events in one reply, found ${bytes}`,
    );
  }
  return { pages, snapshot: reply.snapshot && stampSnapshot(reply.snapshot, stamp, count, limits) };
}

/** Of a rejection, in characters: its texts travel in headers. */
const REJECTION_CODE_LENGTH = 128;
const REJECTION_MESSAGE_LENGTH = 4096;

/** COMPONENT_FAULT when a rejection cannot be stored or sent. */
export function checkRejection(rejection: Rejection, stream: StreamKey, limits: DecisionLimits): void {
  const { code, message, details } = rejection;
  if (code.length > REJECTION_CODE_LENGTH || message.length > REJECTION_MESSAGE_LENGTH) {
    throw fault(
      stream,
      `a rejection has a code of at most ${REJECTION_CODE_LENGTH} and a message of at most ${REJECTION_MESSAGE_LENGTH} characters`,
    );
  }
  if (code.includes('\0') || message.includes('\0')) throw fault(stream, 'a rejection may not hold a NUL character');
  if (details !== undefined) {
    asFault(stream, () => checkPayload(details, 'rejection.details', limits.payloadBytes));
  }
}

/** A reply that names an aggregate must name this one. */
function checkCover(reply: EventBook, { stream }: Stamp): void {
  const cover = reply.cover;
  if (cover === undefined) return;
  const root = cover.root?.value;
  if (
    (root !== undefined && !sameBytes(root, stream.root)) ||
    (cover.domain !== '' && cover.domain !== stream.domain) ||
    (cover.tenant !== '' && cover.tenant !== stream.tenant)
  ) {
    const found = streamText({ tenant: cover.tenant, domain: cover.domain, root: root ?? new Uint8Array() });
    throw fault(stream, `the reply is for another aggregate, ${found}`);
  }
}

function checkPage(page: EventPage, index: number, { stream }: Stamp, limits: DecisionLimits): void {
  asFault(stream, () => {
    checkPayload(page.event, `pages[${index}].event`, limits.payloadBytes);
    checkMetadata(page.metadata, `pages[${index}].metadata`);
  });
}

function stampSnapshot(snapshot: Snapshot, stamp: Stamp, count: number, limits: DecisionLimits): Snapshot {
  asFault(stamp.stream, () => checkPayload(snapshot.state, 'snapshot.state', limits.messageBytes / 2));
  const sequence = stamp.nextSequence + count - 1;
  if (sequence < 0) throw fault(stamp.stream, 'a snapshot of an aggregate without events');
  if (snapshot.sequence !== 0 && snapshot.sequence !== sequence) {
    throw fault(
      stamp.stream,
      `the snapshot must include sequence ${sequence}, the last of its reply, not ${snapshot.sequence}`,
    );
  }
  return { ...snapshot, sequence };
}

/** Events of a client's commands differ in nothing but the commands' types: they share an origin for each. */
const clientOrigins = new Map<string, Origin>();
const CLIENT_ORIGINS_MAX = 1000;

/** What caused the command caused its events; they know which commands they came from besides. */
function originOf(command: CommandBook): Origin {
  const commands = command.pages.map((page) => typeName(page.command!.typeUrl));
  if (command.origin !== undefined) return { ...command.origin, commands };
  const key = commands.length === 1 ? commands[0]! : commands.join(' ');
  let origin = clientOrigins.get(key);
  if (origin === undefined) {
    if (clientOrigins.size >= CLIENT_ORIGINS_MAX) clientOrigins.clear();
    origin = { ...NO_ORIGIN, commands };
    clientOrigins.set(key, origin);
  }
  return origin;
}

const NONE = Object.freeze({});

function merge(command: { [key: string]: string }, page: { [key: string]: string }): { [key: string]: string } {
  const commandEmpty = isEmpty(command);
  if (isEmpty(page)) return commandEmpty ? NONE : command;
  return commandEmpty ? page : { ...command, ...page };
}

function isEmpty(map: object): boolean {
  for (const _ in map) return false;
  return true;
}

/** What is invalid in a reply is the component's fault, not the caller's. */
function asFault(stream: StreamKey, check: () => void): void {
  try {
    check();
  } catch (error) {
    throw fault(stream, error instanceof Error ? error.message : String(error));
  }
}

export function fault(stream: StreamKey, what: string): DaybookError {
  return new DaybookError('COMPONENT_FAULT', `${streamText(stream)}: ${what}`, {
    metadata: { component: stream.domain },
  });
}
