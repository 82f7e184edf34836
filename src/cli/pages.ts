// How an event is shown: a line in columns for people, a JSON object for programs.

import { type Any, type Cover, type EventBook, type EventPage, typeName } from '../model/book.ts';
import { hex, uuidText } from '../model/stream.ts';
import { timeText, toMicros } from '../model/time.ts';
import { jsonPayload } from '../payloads/json.ts';
import type { PayloadTypes } from '../payloads/payload-types.ts';
import { payloadText } from '../payloads/text.ts';
import { Columns, print } from './output.ts';

export interface ShowPages {
  json: boolean;
  /** Payloads as they are stored: nothing in them is decoded. */
  raw: boolean;
  types: PayloadTypes | undefined;
  /** Books of one aggregate come from many conversations, and do not say which. */
  correlation: boolean;
}

/** Prints the events of books, one after the other. */
export class PagePrinter {
  readonly #show: ShowPages;
  readonly #columns: Columns;
  #begun = false;

  constructor(show: ShowPages) {
    this.#show = show;
    this.#columns = new Columns([
      { title: 'POSITION', right: true },
      { title: 'TIME', width: 27 },
      { title: 'EVENT', width: 48 },
      { title: 'TYPE', width: 24 },
      { title: 'BYTES', right: true },
      ...(show.correlation ? [{ title: 'CORRELATION', width: 36 }] : []),
      { title: 'PAYLOAD' },
    ]);
  }

  async book(book: EventBook): Promise<void> {
    const cover = book.cover!;
    if (book.snapshot !== undefined) {
      const { sequence, state } = book.snapshot;
      const snapshot = { ...aggregateJson(cover), snapshot: { sequence, ...payloadJson(state, this.#show) } };
      await this.#line(
        cover,
        ['', '', eventText(cover, sequence)],
        `snapshot ${payloadType(state, this.#show)}`,
        state,
        snapshot,
      );
    }
    for (const page of book.pages) {
      const place = [String(page.position), pageTime(page) ?? '', eventText(cover, page.sequence)];
      await this.#line(
        cover,
        place,
        payloadType(page.event, this.#show),
        page.event,
        pageJson(cover, page, this.#show),
      );
    }
  }

  async #line(cover: Cover, place: string[], type: string, payload: Any | undefined, json: object): Promise<void> {
    if (this.#show.json) return print(JSON.stringify(json));
    if (!this.#begun) await print(this.#columns.header());
    this.#begun = true;
    const correlation = this.#show.correlation ? [cover.correlationId] : [];
    const text = payload === undefined || this.#show.raw ? '' : (payloadText(payload, this.#show.types) ?? '');
    await print(this.#columns.line([...place, type, String(payload?.value.length ?? 0), ...correlation, text]));
  }
}

/** For programs. */
export function pageJson(cover: Cover, page: EventPage, show: Pick<ShowPages, 'raw' | 'types'>): object {
  return {
    position: page.position,
    time: pageTime(page),
    ...aggregateJson(cover),
    sequence: page.sequence,
    event: payloadJson(page.event, show),
    correlation_id: cover.correlationId || undefined,
    unit_id: hex(page.unitId),
    occurred_at: page.occurredAt === undefined ? undefined : timeText(toMicros(page.occurredAt)),
    component: page.origin?.component || undefined,
    metadata: Object.keys(page.metadata).length === 0 ? undefined : page.metadata,
  };
}

export function aggregateJson(cover: Cover): object {
  return { tenant: cover.tenant || undefined, domain: cover.domain, root: uuidText(cover.root!.value) };
}

/** `payload` when it can be decoded, else its bytes in base64. */
export function payloadJson(payload: Any | undefined, show: Pick<ShowPages, 'raw' | 'types'>): object {
  const value = payload?.value ?? new Uint8Array();
  const decoded = payload === undefined || show.raw ? undefined : decode(payload, show.types);
  const content = decoded === undefined ? { bytes: Buffer.from(value).toString('base64') } : { payload: decoded };
  return { type: payloadType(payload, show), size: value.length, ...content };
}

export function payloadType(payload: Any | undefined, { raw }: Pick<ShowPages, 'raw'>): string {
  const json = payload === undefined || raw ? undefined : jsonPayload(payload);
  return json?.type ?? typeName(payload?.typeUrl ?? '');
}

function decode(payload: Any, types: PayloadTypes | undefined): unknown {
  const json = jsonPayload(payload);
  if (json === undefined) return types?.decode(payload);
  try {
    return JSON.parse(json.text);
  } catch {
    return undefined;
  }
}

function pageTime(page: EventPage): string | undefined {
  return page.createdAt === undefined ? undefined : timeText(toMicros(page.createdAt));
}

export function eventText(cover: Cover, sequence: number): string {
  const tenant = cover.tenant === '' ? '' : `${cover.tenant}/`;
  return `${tenant}${cover.domain}/${uuidText(cover.root!.value)}#${sequence}`;
}
