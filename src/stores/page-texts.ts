// What stores in tables keep of events: their rows, with metadata and origins as texts.

import type { Origin } from '../model/book.ts';
import { hex } from '../model/stream.ts';

/** An event's row, as both ask for its columns. Times are microseconds since 1970. */
export type EventTuple = [
  position: number,
  sequence: number,
  unitId: Uint8Array,
  createdAt: number,
  occurredAt: number | null,
  typeUrl: string,
  origin: string | null,
  metadata: string | null,
  payload: Uint8Array,
];

/** Empty when there is nothing to store. */
export function metadataJson(metadata: { [key: string]: string }): string {
  for (const _ in metadata) return JSON.stringify(metadata);
  return '';
}

const NO_ORIGIN: Omit<Origin, 'source' | 'commands'> = {
  component: '',
  sourceSequence: 0,
  sourcePosition: 0,
  logId: '',
  index: 0,
  depth: 0,
  externalSource: '',
  externalId: '',
};

/** The same origin is shared by all pages of a unit, and by all units of a kind of command: it becomes text once. */
const originTexts = new WeakMap<Origin, string>();

export function originJson(origin: Origin): string {
  let text = originTexts.get(origin);
  if (text === undefined) {
    text = originText(origin);
    originTexts.set(origin, text);
  }
  return text;
}

/** Only what is not empty; the source's root in hexadecimal. */
function originText(origin: Origin): string {
  const stored: Record<string, unknown> = {};
  for (const key of Object.keys(NO_ORIGIN) as (keyof typeof NO_ORIGIN)[]) {
    if (origin[key] !== NO_ORIGIN[key]) stored[key] = origin[key];
  }
  if (origin.commands.length > 0) stored.commands = origin.commands;
  if (origin.source !== undefined) {
    const { root, domain, correlationId, tenant } = origin.source;
    stored.source = { root: root && hex(root.value), domain, correlationId, tenant };
  }
  return JSON.stringify(stored);
}

/** Most origins are one of a few: those of events that no event caused. What is parsed is shared, as on its way here. */
const parsedOrigins = new Map<string, Origin>();
const PARSED_MAX = 256;
const PARSED_LENGTH = 256;

export function parseOrigin(json: string): Origin {
  const known = parsedOrigins.get(json);
  if (known !== undefined) return known;
  const origin = originOf(json);
  if (origin.source === undefined && origin.externalId === '' && json.length <= PARSED_LENGTH) {
    if (parsedOrigins.size >= PARSED_MAX) parsedOrigins.clear();
    parsedOrigins.set(json, origin);
  }
  return origin;
}

function originOf(json: string): Origin {
  const { source, ...rest } = JSON.parse(json);
  return {
    ...NO_ORIGIN,
    commands: [],
    ...rest,
    source: source && {
      ...source,
      root: source.root === undefined ? undefined : { value: Uint8Array.from(Buffer.from(source.root, 'hex')) },
    },
  };
}
