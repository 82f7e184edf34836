// Descriptors may name a type relative to where it is used, as those of @grpc/proto-loader do: `OrderLine` in a message of shop.v1.

import type * as wkt from '@bufbuild/protobuf/wkt';

type File = wkt.FileDescriptorProto;

/** Gives every reference its full name, with a dot in front. The innermost scope that knows a name counts. In place. */
export function nameInFull(files: readonly File[]): void {
  const known = new Set(files.flatMap((file) => definedIn(scopeOf(file), file.messageType, file.enumType)));
  const inFull = (scope: string, name: string): string => {
    // Empty: a field without a type of its own.
    if (name === '' || name.startsWith('.')) return name;
    for (let at = scope; ; at = at.slice(0, at.lastIndexOf('.'))) {
      // What nobody knows is complained about by whoever links the files.
      if (at === '' || known.has(`${at}.${name}`)) return `${at}.${name}`;
    }
  };
  const nameFields = (scope: string, fields: readonly wkt.FieldDescriptorProto[]): void => {
    for (const field of fields) {
      field.typeName = inFull(scope, field.typeName);
      field.extendee = inFull(scope, field.extendee);
    }
  };
  const nameTypes = (scope: string, types: readonly wkt.DescriptorProto[]): void => {
    for (const type of types) {
      const own = `${scope}.${type.name}`;
      nameFields(own, [...type.field, ...type.extension]);
      nameTypes(own, type.nestedType);
    }
  };
  for (const file of files) {
    const scope = scopeOf(file);
    nameTypes(scope, file.messageType);
    nameFields(scope, file.extension);
    for (const { name, method: methods } of file.service) {
      for (const method of methods) {
        method.inputType = inFull(`${scope}.${name}`, method.inputType);
        method.outputType = inFull(`${scope}.${name}`, method.outputType);
      }
    }
  }
}

function definedIn(
  scope: string,
  types: readonly wkt.DescriptorProto[],
  enums: readonly wkt.EnumDescriptorProto[],
): string[] {
  const nested = types.flatMap((type) => definedIn(`${scope}.${type.name}`, type.nestedType, type.enumType));
  return [...nested, ...[...types, ...enums].map(({ name }) => `${scope}.${name}`)];
}

function scopeOf(file: File): string {
  return file.package === '' ? '' : `.${file.package}`;
}
