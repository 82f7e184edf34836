// A payload as people read it.

import { type Any, typeName } from '../model/book.ts';
import { jsonPayload } from './json.ts';

/** A longer text is cut. */
export const TEXT_MAX = 500;

/** Whoever knows types. */
export interface Shows {
  show(payload: Any): unknown;
}

/** JSON; `undefined` when nobody knows how to show it. */
export function payloadText(payload: Any, types: Shows | undefined): string | undefined {
  const json = jsonPayload(payload);
  if (json !== undefined) return cut(json.text);
  const value = types?.show(payload);
  return value === undefined ? undefined : cut(JSON.stringify(value));
}

/** Type and content, or type and size. */
export function describe(payload: Any, types: Shows | undefined): string {
  const type = jsonPayload(payload)?.type ?? typeName(payload.typeUrl);
  return `${type} ${payloadText(payload, types) ?? `(${payload.value.length} bytes)`}`;
}

export function cut(text: string): string {
  return text.length <= TEXT_MAX ? text : `${text.slice(0, TEXT_MAX - 1)}…`;
}
