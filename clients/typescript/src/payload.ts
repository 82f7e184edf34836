// Payloads: what your code means, and the Any in which it travels. Daybook never looks inside.

import { Json } from './gen/daybook/v1/types.ts';
import type { Any } from './gen/google/protobuf/any.ts';

/** A message type as ts-proto generates it with `outputTypeAnnotations=static-only`. */
export interface MessageType<T> {
  /** The full name, such as `shop.v1.OrderPlaced`. */
  readonly $type: string;
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

export function pack<T>(type: MessageType<T>, message: T): Any {
  return { typeUrl: PREFIX + type.$type, value: type.encode(message).finish() };
}

/** Throws when the payload is of another type. */
export function unpack<T>(type: MessageType<T>, payload: Any): T {
  const name = typeName(payload);
  if (name !== type.$type) throw new TypeError(`expected a payload of type ${type.$type}, found ${name}`);
  return type.decode(payload.value);
}

/** The full name of a payload's type: what follows the last slash of its URL. */
export function typeName(payload: Any): string {
  return payload.typeUrl.slice(payload.typeUrl.lastIndexOf('/') + 1);
}

/** For payloads without Protobuf: `type` is yours to choose, for example `shop.OrderPlaced`. */
export function packJson(type: string, value: unknown): Any {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  return { typeUrl: JSON_URL, value: Json.encode({ type, bytes }).finish() };
}

/** Throws when the payload was not made by `packJson`, here or in another language. */
export function unpackJson(payload: Any): { type: string; value: unknown } {
  if (payload.typeUrl !== JSON_URL) throw new TypeError(`expected a JSON payload, found ${typeName(payload)}`);
  const { type, bytes } = Json.decode(payload.value);
  return { type, value: JSON.parse(new TextDecoder().decode(bytes)) };
}

const PREFIX = 'type.googleapis.com/';
const JSON_URL = `${PREFIX}daybook.v1.Json`;
