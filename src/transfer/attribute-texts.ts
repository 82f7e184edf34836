// Origin and metadata as texts: attributes of CloudEvents hold no objects. Only what is not empty, in a fixed order, so that the
// same value always becomes the same text.

import { type Cover, NO_ORIGIN, type Origin } from '../model/book.ts';
import { uuidText } from '../model/stream.ts';
import { Unreadable } from './unreadable.ts';

const TEXTS = {
  component: 'component',
  log_id: 'logId',
  external_source: 'externalSource',
  external_id: 'externalId',
} as const;

const NUMBERS = {
  source_sequence: 'sourceSequence',
  source_position: 'sourcePosition',
  index: 'index',
  depth: 'depth',
} as const;

export function originText(origin: Origin): string {
  const { source, commands } = origin;
  const shown: Record<string, unknown> = {};
  for (const [name, key] of Object.entries(TEXTS)) if (origin[key] !== '') shown[name] = origin[key];
  for (const [name, key] of Object.entries(NUMBERS)) if (origin[key] !== 0) shown[name] = origin[key];
  if (source !== undefined) {
    shown.source = {
      tenant: source.tenant || undefined,
      domain: source.domain || undefined,
      root: source.root && uuidText(source.root.value),
      correlation_id: source.correlationId || undefined,
    };
  }
  if (commands.length > 0) shown.commands = commands;
  return attributeText(shown);
}

/** Whoever reads compares with `originText` of the result: what is not known here then differs. */
export function readOrigin(text: string): Origin {
  const given = readObject('origin', text);
  const origin: Origin = { ...NO_ORIGIN, commands: [] };
  for (const [name, key] of Object.entries(TEXTS)) {
    if (given[name] !== undefined) origin[key] = readText(`origin.${name}`, given[name]);
  }
  for (const [name, key] of Object.entries(NUMBERS)) {
    if (given[name] !== undefined) origin[key] = readWhole(`origin.${name}`, given[name]);
  }
  checkExternal(origin);
  if (given.source !== undefined) origin.source = readSource(given.source);
  if (given.commands !== undefined) {
    if (!Array.isArray(given.commands)) throw new Unreadable('origin.commands', 'a list', given.commands);
    origin.commands = given.commands.map((name) => readText('origin.commands', name));
  }
  return origin;
}

/** They become a key, which holds neither NUL nor half a character, and in which a slash ends the source. */
function checkExternal({ externalSource, externalId }: Origin): void {
  for (const [name, text] of Object.entries({ external_source: externalSource, external_id: externalId })) {
    if (text.includes('\0') || !text.isWellFormed())
      throw new Unreadable(`origin.${name}`, 'characters without NUL', text);
  }
  if (externalSource.includes('/'))
    throw new Unreadable('origin.external_source', "a text without '/'", externalSource);
}

function readSource(given: unknown): Cover {
  if (typeof given !== 'object' || given === null) throw new Unreadable('origin.source', 'an object', given);
  const { tenant = '', domain = '', root, correlation_id = '' } = given as Record<string, unknown>;
  return {
    tenant: readText('origin.source.tenant', tenant),
    domain: readText('origin.source.domain', domain),
    root: root === undefined ? undefined : { value: readUuid('origin.source.root', root) },
    correlationId: readText('origin.source.correlation_id', correlation_id),
  };
}

export function metadataText(metadata: { [key: string]: string }): string {
  return attributeText(metadata);
}

export function readMetadata(text: string): { [key: string]: string } {
  const given = readObject('metadata', text);
  for (const key in given) readText('metadata', given[key]);
  return given as { [key: string]: string };
}

/** JSON escapes most of what CloudEvents forbids in a text; this is the rest: controls above ASCII, and what is no character. */
function attributeText(value: object): string {
  const text = JSON.stringify(value);
  if (!/[^ -~]/.test(text)) return text;
  return text.replaceAll(/\p{Cc}|\p{Noncharacter_Code_Point}/gu, (found) => {
    let escaped = '';
    for (let i = 0; i < found.length; i++) escaped += `\\u${found.charCodeAt(i).toString(16).padStart(4, '0')}`;
    return escaped;
  });
}

function readObject(name: string, text: string): Record<string, unknown> {
  try {
    const value = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch {
    // Told below.
  }
  throw new Unreadable(name, 'a JSON object as a text', text);
}

export function readText(name: string, given: unknown): string {
  if (typeof given !== 'string') throw new Unreadable(name, 'a text', given);
  return given;
}

function readWhole(name: string, given: unknown): number {
  if (!Number.isSafeInteger(given) || (given as number) < 0) throw new Unreadable(name, 'a whole number', given);
  return given as number;
}

export function readUuid(name: string, given: unknown): Uint8Array {
  const text = readText(name, given);
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) {
    throw new Unreadable(name, 'a UUID in lower case with hyphens', text);
  }
  return Uint8Array.from(Buffer.from(text.replaceAll('-', ''), 'hex'));
}
