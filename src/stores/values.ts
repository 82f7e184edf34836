// What every store can hold of a single value. Each check throws INTERNAL with a sentence.

import { DaybookError } from '../errors.ts';
import type { StreamKey } from '../model/stream.ts';

export function checkStream(stream: StreamKey): void {
  if (stream.root.length !== 16) refuse('a root', 'is not 16 bytes long');
  checkText(stream.tenant, 'a tenant');
  checkText(stream.domain, 'a domain');
}

export function checkText(text: string, what: string): void {
  if (text.includes('\0')) refuse(what, 'contains a NUL character');
  if (!text.isWellFormed()) refuse(what, 'is not well-formed Unicode');
}

export function checkSafe(value: number, what: string): void {
  if (!Number.isSafeInteger(value)) refuse(what, `is not a safe integer: ${value}`);
}

export function checkCount(value: number, what: string): void {
  if (!Number.isSafeInteger(value) || value < 0) refuse(what, `is not a safe natural number: ${value}`);
}

export function refuse(what: string, why: string): never {
  throw cannotHold(`${what} ${why}`);
}

export function cannotHold(why: string): DaybookError {
  return new DaybookError('INTERNAL', `the store cannot hold this: ${why}`);
}
