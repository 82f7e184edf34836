// daybook.v1.Json: payloads of hosts that do not use Protobuf for their events.

import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { type Any, typeName } from '../model/book.ts';
import { fields, texts } from './wire.ts';

const JSON_TYPE = 'daybook.v1.Json';

/** What a daybook.v1.Json holds, as stored; `undefined` for all other payloads. */
export function jsonPayload(payload: Any): { type: string; text: string } | undefined {
  if (typeName(payload.typeUrl) !== JSON_TYPE) return undefined;
  try {
    const [type = ''] = texts(payload.value, 1);
    const [bytes] = fields(payload.value, 2);
    return { type, text: new TextDecoder().decode(bytes) };
  } catch {
    return undefined;
  }
}

export function packJson(type: string, text: string): Any {
  const value = new BinaryWriter().uint32(10).string(type).uint32(18).string(text).finish();
  return { typeUrl: `type.googleapis.com/${JSON_TYPE}`, value };
}
