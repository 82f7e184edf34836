// Looking into Protobuf messages without their definition: enough for the few fields that are needed here.

import { BinaryReader } from '@bufbuild/protobuf/wire';

/** The values of a field that holds bytes, texts or messages. Throws on bytes that are no message. */
export function fields(message: Uint8Array, number: number): Uint8Array[] {
  const reader = new BinaryReader(message);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === number && wireType === 2) found.push(reader.bytes());
    else reader.skip(wireType, field);
  }
  return found;
}

export function texts(message: Uint8Array, number: number): string[] {
  return fields(message, number).map((bytes) => new TextDecoder().decode(bytes));
}
