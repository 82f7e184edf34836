// Facts: events that happened elsewhere, recorded once per external source and id.

import { invalid } from '../errors.ts';
import type { EventBook, EventPage } from './book.ts';
import { hex, type StreamKey } from './stream.ts';
import { checkCorrelationId, checkMetadata, checkPayload, checkTime, streamOf } from './validation.ts';

export interface FactLimits {
  payloadBytes: number;
  pagesPerCommand: number;
}

const EXTERNAL_SOURCE = /^[\x21-\x2e\x30-\x7e]{1,64}$/;
const EXTERNAL_ID = /^[\x20-\x7e]{1,256}$/;

/** Under which a fact is remembered, for as long as its stream. Unambiguous: only the last part may contain a slash. */
export function factKey(stream: StreamKey, source: string, id: string): string {
  return `${stream.domain}/${hex(stream.root)}/${source}/${id}`;
}

/** INVALID_ARGUMENT or TOO_LARGE, or the stream that the facts are for. */
export function checkFacts(facts: EventBook | undefined, limits: FactLimits): StreamKey {
  if (facts === undefined) throw invalid('facts', 'facts: expected a book, found none');
  const stream = streamOf(facts.cover, 'facts.cover');
  checkCorrelationId(facts.cover!.correlationId, 'facts.cover.correlation_id');
  const count = facts.pages.length;
  if (count < 1 || count > limits.pagesPerCommand) {
    throw invalid('facts.pages', `facts.pages: expected 1 to ${limits.pagesPerCommand} pages, found ${count}`);
  }
  const keys = new Set<string>();
  for (let i = 0; i < count; i++) keys.add(checkFact(stream, facts.pages[i]!, `facts.pages[${i}]`, limits));
  if (keys.size < count) throw invalid('facts.pages', 'facts.pages: the same external source and id is there twice');
  return stream;
}

function checkFact(stream: StreamKey, page: EventPage, field: string, limits: FactLimits): string {
  checkPayload(page.event, `${field}.event`, limits.payloadBytes);
  checkMetadata(page.metadata, `${field}.metadata`);
  const { externalSource = '', externalId = '' } = page.origin ?? {};
  if (!EXTERNAL_SOURCE.test(externalSource)) {
    throw invalid(
      `${field}.origin.external_source`,
      `${field}.origin.external_source: expected 1 to 64 printable ASCII characters without space and '/'`,
    );
  }
  if (!EXTERNAL_ID.test(externalId)) {
    throw invalid(
      `${field}.origin.external_id`,
      `${field}.origin.external_id: expected 1 to 256 printable ASCII characters`,
    );
  }
  checkTime(page.occurredAt, `${field}.occurred_at`);
  return factKey(stream, externalSource, externalId);
}
