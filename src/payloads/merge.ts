// Many descriptor sets become one in which every type is defined once. Components are built apart from each other: two may bring
// the same file in two versions, the same file name for different types, or the same types under different file names.

import {
  create,
  createFileRegistry,
  type DescFile,
  type DescMessage,
  equals,
  type FileRegistry,
  fromBinary,
  type Message,
} from '@bufbuild/protobuf';
import { protoCamelCase } from '@bufbuild/protobuf/reflect';
import * as wkt from '@bufbuild/protobuf/wkt';
import { type DescriptorSet, isWellKnown } from './descriptor-sets.ts';
import { nameInFull } from './full-names.ts';

export interface Merged {
  set: wkt.FileDescriptorSet;
  registry: FileRegistry;
  /** What could not be kept as it came, in sentences. */
  complaints: string[];
}

/** The first definition of a type counts. A set that makes no sense is left out; never throws for what is in a set. */
export function mergeSets(sets: readonly DescriptorSet[]): Merged {
  const complaints: string[] = [];
  const sound = sets.flatMap(({ source, bytes }) => {
    try {
      const files = read(bytes);
      link(files);
      return [{ source, files }];
    } catch (thrown) {
      complaints.push(`the descriptors of ${source} cannot be used: ${(thrown as Error).message}`);
      return [];
    }
  });
  let merging = new Merging();
  for (const { source, files } of sound) merging.add(source, files);
  let registry = tryToLink(merging.files);
  if (registry === undefined) {
    // Definitions of different sets do not fit each other: one set at a time, to find out which.
    merging = new Merging();
    for (const { source, files } of sound) {
      const more = merging.copy();
      more.add(source, files);
      if (tryToLink(more.files) !== undefined) merging = more;
      else complaints.push(`the descriptors of ${source} do not fit those of others and are left out`);
    }
    registry = link(merging.files);
  }
  return {
    set: create(wkt.FileDescriptorSetSchema, { file: merging.files }),
    registry,
    complaints: [...complaints, ...merging.complaints],
  };
}

/** Throws a sentence when a set cannot be used. */
export function checkSet(bytes: Uint8Array): void {
  link(read(bytes));
}

type File = wkt.FileDescriptorProto;

/** Throws when the bytes are no set, or lack a file. */
function read(bytes: Uint8Array): File[] {
  const { file: files } = fromBinary(wkt.FileDescriptorSetSchema, bytes);
  for (const file of files) for (const type of file.messageType) nameForJson(type);
  nameInFull(files);
  return inOrder(files);
}

/** Compilers write the JSON names of fields down; what comes from a running C++ or Python program leaves them out. */
function nameForJson(type: wkt.DescriptorProto): void {
  for (const field of [...type.field, ...type.extension])
    if (field.jsonName === '') field.jsonName = protoCamelCase(field.name);
  for (const nested of type.nestedType) nameForJson(nested);
}

/** The lists of a file that define something. */
const KINDS = ['messageType', 'enumType', 'service', 'extension'] as const;
const SCHEMAS = {
  messageType: wkt.DescriptorProtoSchema,
  enumType: wkt.EnumDescriptorProtoSchema,
  service: wkt.ServiceDescriptorProtoSchema,
  extension: wkt.FieldDescriptorProtoSchema,
} satisfies Record<(typeof KINDS)[number], DescMessage>;

interface Definition {
  /** The name of the merged file that holds it. */
  file: string;
  source: string;
  kind: (typeof KINDS)[number];
  proto: Message & { name: string };
}

class Merging {
  /** Each after those that it imports. */
  files: File[] = [];
  complaints: string[] = [];
  #definitions = new Map<string, Definition>();
  #names = new Set<string>();

  copy(): Merging {
    const copy = new Merging();
    copy.files = [...this.files];
    copy.complaints = [...this.complaints];
    copy.#definitions = new Map(this.#definitions);
    copy.#names = new Set(this.#names);
    return copy;
  }

  /** `files` in order. */
  add(source: string, files: readonly File[]): void {
    // Where the content of each of these files is to be found in the merged ones.
    const homes = new Map<string, readonly string[]>();
    const others = new Map<string, string[]>();
    for (const file of files) {
      if (isWellKnown(file.name) && this.#names.has(file.name)) {
        homes.set(file.name, [file.name]);
        continue;
      }
      const fresh = { ...file, sourceCodeInfo: undefined };
      const elsewhere = new Set<string>();
      for (const kind of KINDS) {
        (fresh[kind] as Definition['proto'][]) = (file[kind] as Definition['proto'][]).filter((proto) => {
          const name = fullName(file, proto);
          const known = this.#definitions.get(name);
          if (known === undefined) return true;
          elsewhere.add(known.file);
          if (known.kind !== kind || !equals(SCHEMAS[kind] as DescMessage, known.proto, proto)) {
            others.set(known.source, [...(others.get(known.source) ?? []), name]);
          }
          return false;
        });
      }
      const empty = KINDS.every((kind) => fresh[kind].length === 0);
      if (empty && (elsewhere.size > 0 || this.#names.has(file.name))) {
        homes.set(file.name, elsewhere.size > 0 ? [...elsewhere] : [file.name]);
        continue;
      }
      fresh.name = this.#freeName(file.name);
      rewriteImports(fresh, file, homes, elsewhere);
      homes.set(file.name, [fresh.name, ...elsewhere]);
      this.#take(source, fresh);
    }
    for (const [other, names] of others) {
      const listed =
        names.length > 3 ? `${names.slice(0, 3).join(', ')} and ${names.length - 3} more` : names.join(', ');
      this.complaints.push(`${source} defines ${listed} otherwise than ${other}, whose definition is used`);
    }
  }

  #take(source: string, file: File): void {
    this.files.push(file);
    this.#names.add(file.name);
    for (const kind of KINDS) {
      for (const proto of file[kind]) {
        this.#definitions.set(fullName(file, proto), { file: file.name, source, kind, proto });
      }
    }
  }

  #freeName(name: string): string {
    let free = name;
    for (let n = 2; this.#names.has(free); n++) free = name.replace(/(\.proto)?$/, `~${n}$1`);
    return free;
  }
}

function fullName(file: File, { name }: { name: string }): string {
  return file.package === '' ? name : `${file.package}.${name}`;
}

/** `fresh` imports the merged files that hold what `file` imported. */
function rewriteImports(
  fresh: File,
  file: File,
  homes: ReadonlyMap<string, readonly string[]>,
  elsewhere: ReadonlySet<string>,
): void {
  const imports = new Set<string>();
  const open = new Set<string>();
  for (const [i, name] of file.dependency.entries()) {
    for (const home of homes.get(name) ?? [name]) {
      imports.add(home);
      if (file.publicDependency.includes(i)) open.add(home);
    }
  }
  for (const name of elsewhere) imports.add(name);
  fresh.dependency = [...imports];
  fresh.publicDependency = [...open].map((name) => fresh.dependency.indexOf(name));
  fresh.weakDependency = [];
  fresh.optionDependency = [];
}

function tryToLink(files: readonly File[]): FileRegistry | undefined {
  try {
    return link(files);
  } catch {
    return undefined;
  }
}

function link(files: readonly File[]): FileRegistry {
  return createFileRegistry(create(wkt.FileDescriptorSetSchema, { file: [...files] }));
}

/** Files that every Protobuf implementation brings along, by name. Descriptor sets may leave them out. */
const WELL_KNOWN = new Map(
  (Object.values(wkt) as { kind?: string }[])
    .filter((each): each is DescFile => each.kind === 'file')
    .map((file) => [file.proto.name, file.proto]),
);

/** Each after those that it imports; well-known ones as we have them. */
function inOrder(files: readonly File[]): File[] {
  const byName = new Map(files.map((file) => [file.name, file]));
  const ordered = new Map<string, File | undefined>();
  function visit(name: string, importer: string): void {
    if (ordered.has(name)) {
      if (ordered.get(name) === undefined) throw new Error(`${name} imports itself`);
      return;
    }
    const file = WELL_KNOWN.get(name) ?? byName.get(name);
    if (file === undefined) throw new Error(`${importer} imports ${name}, which is not in the set`);
    ordered.set(name, undefined);
    for (const dependency of file.dependency) visit(dependency, name);
    ordered.delete(name);
    ordered.set(name, file);
  }
  for (const { name } of files) visit(name, name);
  return [...ordered.values()] as File[];
}
