// Payloads as JSON and back, with the descriptors of their types. Loads the Protobuf library, so it is itself loaded only when used.

import {
  create,
  createFileRegistry,
  type DescMessage,
  fromBinary,
  fromJsonString,
  type Registry,
  toBinary,
  toJson,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { type Any, typeName } from '../model/book.ts';
import { mergeSets } from './merge.ts';

export class PayloadTypes {
  readonly #registry: Registry;
  /** A serialized FileDescriptorSet of all of them. */
  readonly bytes: Uint8Array;
  /** What could not be used, in sentences. */
  readonly complaints: readonly string[];

  /** What comes first counts. */
  constructor(sets: Parameters<typeof mergeSets>[0]) {
    const { set, registry, complaints } = mergeSets(sets);
    this.bytes = set.file.length === 0 ? new Uint8Array() : toBinary(FileDescriptorSetSchema, set);
    this.complaints = complaints;
    this.#registry = registry;
  }

  has(type: string): boolean {
    return this.#registry.getMessage(type) !== undefined;
  }

  /** The payload in canonical JSON; `undefined` when its type is not known, or that of something within it, or its bytes are others. */
  decode(payload: Any): unknown {
    return this.#toJson(payload, this.#registry);
  }

  /** The same for people: messages within it whose type is not known are shown by their type alone. */
  show(payload: Any): unknown {
    const { getMessage } = this.#registry;
    const registry = {
      ...this.#registry,
      getMessage: (type: string) => getMessage(type) ?? unknownType(type),
    } as Registry;
    return this.#toJson(payload, registry);
  }

  /** Throws a sentence when the text is no JSON of this type. */
  encode(type: string, json: string): Any {
    const schema = this.#registry.getMessage(type);
    if (schema === undefined) throw new Error(`${type} is not a known type`);
    const message = fromJsonString(schema, json, { registry: this.#registry });
    return { typeUrl: `type.googleapis.com/${type}`, value: toBinary(schema, message) };
  }

  /** Full names of the types that people mean by a name: itself, or all that end with it. */
  named(name: string): string[] {
    if (this.has(name)) return [name];
    return this.names().filter((type) => type.endsWith(`.${name}`));
  }

  /** Full names of all message types but those of Protobuf and Daybook. */
  names(): string[] {
    return [...this.#registry]
      .filter(
        (type): type is DescMessage =>
          type.kind === 'message' && !/^(google\.protobuf|daybook\.v1)\./.test(type.typeName),
      )
      .map((type) => type.typeName)
      .sort();
  }

  #toJson(payload: Any, registry: Registry): unknown {
    const schema = this.#registry.getMessage(typeName(payload.typeUrl));
    if (schema === undefined) return undefined;
    try {
      return toJson(schema, fromBinary(schema, payload.value), { registry });
    } catch {
      return undefined;
    }
  }
}

/** Stands in for a type of which only the name is known. */
function unknownType(type: string): DescMessage | undefined {
  const dot = type.lastIndexOf('.');
  const file = { name: type, syntax: 'proto3', package: type.slice(0, Math.max(0, dot)) };
  const messageType = [{ name: type.slice(dot + 1) }];
  return createFileRegistry(create(FileDescriptorSetSchema, { file: [{ ...file, messageType }] })).getMessage(type);
}
