// The descriptors of payload types that this daemon was told, as they came. Here they are looked at from outside only, which costs
// little; merge.ts makes one set of them when somebody wants to see payloads.

import { createHash } from 'node:crypto';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { invalid } from '../errors.ts';
import { fields, texts } from './wire.ts';

export interface DescriptorSet {
  /** Who told it, for people. */
  source: string;
  /** A serialized google.protobuf.FileDescriptorSet. */
  bytes: Uint8Array;
}

/** What components told beyond this is forgotten, the oldest first. */
const TOLD_MAX = 64;
const TOLD_BYTES = 16 << 20;

export class DescriptorSets {
  readonly #kept: readonly DescriptorSet[];
  /** The oldest first. */
  readonly #told = new Map<string, DescriptorSet>();
  #toldBytes = 0;
  #changes = 0;

  /** `kept`: what the configuration names. */
  constructor(kept: readonly DescriptorSet[]) {
    this.#kept = kept;
  }

  /** Differs when there is something new. */
  get changes(): number {
    return this.#changes;
  }

  /** What counts most comes first: the configuration, then what was told last. */
  get byWeight(): DescriptorSet[] {
    return [...this.#kept, ...[...this.#told.values()].reverse()];
  }

  /** From Hello. INVALID_ARGUMENT when it is none. The same set may be told any number of times. */
  tell(source: string, bytes: Uint8Array): void {
    const fault = faultOf(bytes);
    if (fault !== undefined) throw invalid('hello.file_descriptor_set', `hello.file_descriptor_set: ${fault}`);
    const key = createHash('sha256').update(bytes).digest('base64');
    if (!this.#told.has(key)) this.#put(key, { source, bytes });
  }

  /** Takes the place of what this source told before. */
  replace(source: string, bytes: Uint8Array): void {
    this.#put(source, { source, bytes });
  }

  #put(key: string, set: DescriptorSet): void {
    this.#forget(key);
    this.#told.set(key, set);
    this.#toldBytes += set.bytes.length;
    for (const oldest of this.#told.keys()) {
      if (this.#told.size <= TOLD_MAX && this.#toldBytes <= TOLD_BYTES) break;
      this.#forget(oldest);
    }
    this.#changes++;
  }

  #forget(key: string): void {
    this.#toldBytes -= this.#told.get(key)?.bytes.length ?? 0;
    this.#told.delete(key);
  }
}

/** What is wrong with a serialized FileDescriptorSet as far as one sees without its definitions; `undefined` when nothing is. */
export function faultOf(bytes: Uint8Array): string | undefined {
  const imports = new Map<string, string[]>();
  try {
    for (const file of fields(bytes, 1)) imports.set(texts(file, 1)[0] ?? '', texts(file, 3));
  } catch {
    return 'expected a serialized google.protobuf.FileDescriptorSet, found other bytes';
  }
  if (imports.size === 0) return 'expected a serialized google.protobuf.FileDescriptorSet, found one without files';
  for (const [name, imported] of imports) {
    if (name === '') return 'expected files with names, found one without';
    const missing = imported.find((other) => !imports.has(other) && !isWellKnown(other));
    if (missing !== undefined) {
      return `${name} imports ${missing}, which is not in the set: make it with buf build, or with protoc --include_imports`;
    }
  }
  return undefined;
}

/** Everybody has these files. */
export function isWellKnown(file: string): boolean {
  return file.startsWith('google/protobuf/');
}

/** A FileDescriptorSet of serialized files. */
export function setOf(files: Iterable<Uint8Array>): Uint8Array {
  const writer = new BinaryWriter();
  for (const file of files) writer.uint32(10).bytes(file);
  return writer.finish();
}
