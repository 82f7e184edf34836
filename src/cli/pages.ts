// How an event is shown: a line in columns for people, a JSON object for programs.

import { Json } from '../gen/daybook/v1/types.ts';
import { type Any, type Cover, type EventBook, type EventPage, typeName } from '../model/book.ts';
import { hex, uuidText } from '../model/stream.ts';
import { timeText, toMicros } from '../model/time.ts';
import { Columns, print } from './output.ts';

/** Prints the events of books, one after the other. */
export class PagePrinter {
  readonly #json: boolean;
  readonly #columns = new Columns([
    { title: 'POSITION', right: true },
    { title: 'TIME', width: 27 },
    { title: 'EVENT', width: 48 },
    { title: 'TYPE', width: 24 },
    { title: 'BYTES', right: true },
    { title: 'CORRELATION', width: 36 },
    { title: 'PAYLOAD' },
  ]);
  #begun = false;

  constructor(json: boolean) {
    this.#json = json;
  }

  async book(book: EventBook): Promise<void> {
    const cover = book.cover!;
    if (book.snapshot !== undefined) {
      const { sequence, state } = book.snapshot;
      const snapshot = { ...aggregateJson(cover), snapshot: { sequence, ...payloadJson(state) } };
      const row = ['', '', eventText(cover, sequence), `snapshot ${payloadType(state)}`, sizeText(state), '', ''];
      await this.#line(row, snapshot);
    }
    for (const page of book.pages) await this.#line(pageRow(cover, page), pageJson(cover, page));
  }

  async #line(row: readonly string[], json: object): Promise<void> {
    if (this.#json) return print(JSON.stringify(json));
    if (!this.#begun) await print(this.#columns.header());
    this.#begun = true;
    await print(this.#columns.line(row));
  }
}

function pageRow(cover: Cover, page: EventPage): string[] {
  return [
    String(page.position),
    page.createdAt === undefined ? '' : timeText(toMicros(page.createdAt)),
    eventText(cover, page.sequence),
    payloadType(page.event),
    sizeText(page.event),
    cover.correlationId,
    jsonPayload(page.event)?.text ?? '',
  ];
}

/** For programs: bytes in base64, `json` when the payload is one. */
export function pageJson(cover: Cover, page: EventPage): object {
  return {
    position: page.position,
    time: page.createdAt === undefined ? undefined : timeText(toMicros(page.createdAt)),
    ...aggregateJson(cover),
    sequence: page.sequence,
    ...payloadJson(page.event),
    correlation_id: cover.correlationId,
    unit_id: hex(page.unitId),
    occurred_at: page.occurredAt === undefined ? undefined : timeText(toMicros(page.occurredAt)),
    component: page.origin?.component || undefined,
    metadata: Object.keys(page.metadata).length === 0 ? undefined : page.metadata,
  };
}

function aggregateJson(cover: Cover): object {
  return { tenant: cover.tenant || undefined, domain: cover.domain, root: uuidText(cover.root!.value) };
}

function payloadJson(payload: Any | undefined): object {
  const json = jsonPayload(payload);
  const value = payload?.value ?? new Uint8Array();
  const content = json?.value === undefined ? { bytes: Buffer.from(value).toString('base64') } : { json: json.value };
  return { type: payloadType(payload), size: value.length, ...content };
}

function eventText(cover: Cover, sequence: number): string {
  const tenant = cover.tenant === '' ? '' : `${cover.tenant}/`;
  return `${tenant}${cover.domain}/${uuidText(cover.root!.value)}#${sequence}`;
}

function payloadType(payload: Any | undefined): string {
  return jsonPayload(payload)?.type ?? typeName(payload?.typeUrl ?? '');
}

function sizeText(payload: Any | undefined): string {
  return String(payload?.value.length ?? 0);
}

/** What a daybook.v1.Json holds: its text as stored, and its value if the text is valid. */
function jsonPayload(payload: Any | undefined): { type: string; text: string; value: unknown } | undefined {
  if (payload === undefined || typeName(payload.typeUrl) !== 'daybook.v1.Json') return undefined;
  try {
    const { type, bytes } = Json.decode(payload.value);
    const text = new TextDecoder().decode(bytes);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      value = undefined;
    }
    return { type, text, value };
  } catch {
    return undefined;
  }
}
