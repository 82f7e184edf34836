// An event of the log as one line: a CloudEvent 1.0 in its JSON format. docs/export-import.md says what each attribute is.
//
// A line depends on the event alone and not on the log in which it was found, except for `position`: the same event has the
// same source and id wherever it is kept, so that whoever remembers what it has seen by those two recognises it after a
// move to another store. A domain belongs to one service, so its name is a source; roots are UUIDs.

import { type EventPage, type Timestamp, typeName } from '../model/book.ts';
import { type StreamKey, sameBytes, uuidText } from '../model/stream.ts';
import { timeText, toMicros, toTimestamp } from '../model/time.ts';
import { checkCorrelationId, checkPayload, checkTenant, DOMAIN } from '../model/validation.ts';
import { metadataText, originText, readMetadata, readOrigin, readText, readUuid } from './attribute-texts.ts';
import { Unreadable } from './unreadable.ts';

export interface StoredEvent {
  stream: StreamKey;
  correlationId: string;
  page: EventPage;
}

export interface ExportedEvent extends StoredEvent {
  /** How many lines there are of its unit, one behind the other. */
  unitEvents: number;
}

/** Without the line's end. */
export function eventLine(event: ExportedEvent): string {
  return JSON.stringify(attributes(event));
}

/** Throws Unreadable. What is read becomes the same attributes again: nothing in a line is passed over. */
export function readEventLine(line: string): ExportedEvent {
  let given: unknown;
  try {
    given = JSON.parse(line);
  } catch {
    throw new Unreadable('the line', 'a JSON object', line);
  }
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new Unreadable('the line', 'a JSON object', given);
  }
  const event = readAttributes(given as Attributes);
  if (eventLine(event) !== line) checkAttributes(attributes(event), given as Attributes);
  return event;
}

/** An attribute in which an event of a stream and another one with its sequence differ. Positions may differ. */
export function difference(a: StoredEvent, b: StoredEvent): string | undefined {
  const [first, second] = [a.page, b.page];
  if (!sameBytes(first.unitId, second.unitId)) return 'unitid';
  if (a.correlationId !== b.correlationId) return 'correlationid';
  if (first.event!.typeUrl !== second.event!.typeUrl) return 'typeurl';
  if (toMicros(first.createdAt!) !== toMicros(second.createdAt!)) return 'time';
  if (micros(first.occurredAt) !== micros(second.occurredAt)) return 'occurredat';
  if (metadataText(first.metadata) !== metadataText(second.metadata)) return 'metadata';
  if ((first.origin && originText(first.origin)) !== (second.origin && originText(second.origin))) return 'origin';
  return sameBytes(first.event!.value, second.event!.value) ? undefined : 'data_base64';
}

function micros(time: Timestamp | undefined): number | undefined {
  return time && toMicros(time);
}

type Attributes = Record<string, unknown>;

function attributes({ stream, correlationId, page, unitEvents }: ExportedEvent): Attributes {
  const { tenant, domain } = stream;
  const root = uuidText(stream.root);
  const { typeUrl, value } = page.event!;
  const shown: Attributes = {
    specversion: '1.0',
    id: `${tenant}/${domain}/${root}/${page.sequence}`,
    source: `daybook:${encodeURIComponent(tenant)}/${domain}`,
    type: typeName(typeUrl),
    subject: `${domain}/${root}`,
    time: timeText(toMicros(page.createdAt!)),
    datacontenttype: 'application/protobuf',
    typeurl: typeUrl,
  };
  if (tenant !== '') shown.tenant = tenant;
  shown.domain = domain;
  shown.root = root;
  // A text of ten digits, as the sequence extension of CloudEvents wants it: texts in order are sequences in order.
  shown.sequence = String(page.sequence).padStart(10, '0');
  // A text, because integers of CloudEvents end at 2^31.
  shown.position = String(page.position);
  shown.unitid = uuidText(page.unitId);
  shown.unitevents = unitEvents;
  if (correlationId !== '') shown.correlationid = correlationId;
  if (page.occurredAt !== undefined) shown.occurredat = timeText(toMicros(page.occurredAt));
  if (page.origin !== undefined) shown.origin = originText(page.origin);
  for (const _ in page.metadata) {
    shown.metadata = metadataText(page.metadata);
    break;
  }
  shown.data_base64 = Buffer.from(value.buffer, value.byteOffset, value.length).toString('base64');
  return shown;
}

function readAttributes(given: Attributes): ExportedEvent {
  const { tenant = '', correlationid = '', occurredat, origin, metadata, unitevents } = given;
  const stream = {
    tenant: readText('tenant', tenant),
    domain: readText('domain', given.domain),
    root: readUuid('root', given.root),
  };
  if (!DOMAIN.test(stream.domain)) throw new Unreadable('domain', DOMAIN.source, stream.domain);
  checkTenant(stream.tenant);
  const correlationId = readText('correlationid', correlationid);
  checkCorrelationId(correlationId, 'correlationid');
  const event = {
    typeUrl: readText('typeurl', given.typeurl),
    value: Buffer.from(readText('data_base64', given.data_base64), 'base64'),
  };
  checkPayload(event, 'event', Number.POSITIVE_INFINITY);
  if (!Number.isSafeInteger(unitevents) || (unitevents as number) < 1) {
    throw new Unreadable('unitevents', 'a whole number from 1', unitevents);
  }
  const page: EventPage = {
    sequence: readDigits('sequence', given.sequence, 0xffffffff),
    createdAt: readTime('time', given.time),
    event,
    position: readDigits('position', given.position, Number.MAX_SAFE_INTEGER),
    origin: origin === undefined ? undefined : readOrigin(readText('origin', origin)),
    metadata: metadata === undefined ? {} : readMetadata(readText('metadata', metadata)),
    unitId: readUuid('unitid', given.unitid),
    occurredAt: occurredat === undefined ? undefined : readTime('occurredat', occurredat),
  };
  return { stream, correlationId, page, unitEvents: unitevents as number };
}

function checkAttributes(expected: Attributes, given: Attributes): void {
  for (const name in expected) {
    if (given[name] !== expected[name]) throw new Unreadable(name, JSON.stringify(expected[name]), given[name]);
  }
  for (const name in given) {
    if (!Object.hasOwn(expected, name)) throw new Unreadable(name, 'no such attribute', given[name]);
  }
}

function readDigits(name: string, given: unknown, max: number): number {
  const text = readText(name, given);
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number <= max)) throw new Unreadable(name, `a text of digits up to ${max}`, text);
  return number;
}

/** With exactly six digits of a second, in UTC. */
function readTime(name: string, given: unknown) {
  const text = readText(name, given);
  const [, seconds, micros] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{6})Z$/.exec(text) ?? [];
  const milliseconds = Date.parse(`${seconds}Z`);
  const time = milliseconds * 1000 + Number(micros);
  if (!Number.isSafeInteger(time)) throw new Unreadable(name, 'a time as 2026-01-31T12:00:00.000001Z', text);
  return toTimestamp(time);
}
