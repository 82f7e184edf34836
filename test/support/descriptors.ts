// Descriptor sets made by hand.

import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  type FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from '@bufbuild/protobuf/wkt';

type FileInit = MessageInitShape<typeof FileDescriptorProtoSchema>;

/** A message type whose fields are texts, numbered in this order; `name: .other.Type` makes one a message. */
export function message(name: string, ...fields: string[]) {
  return {
    name,
    field: fields.map((field, i) => {
      const [fieldName, typeName] = field.split(': ');
      return {
        name: fieldName!,
        number: i + 1,
        label: FieldDescriptorProto_Label.OPTIONAL,
        type: typeName === undefined ? FieldDescriptorProto_Type.STRING : FieldDescriptorProto_Type.MESSAGE,
        ...(typeName === undefined ? {} : { typeName }),
      };
    }),
  };
}

export function file(name: string, packageName: string, ...messageType: ReturnType<typeof message>[]) {
  return { name, package: packageName, syntax: 'proto3', messageType } satisfies FileInit;
}

export function descriptorSet(...files: FileInit[]): Uint8Array {
  return toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: files }));
}
