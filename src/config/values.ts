// What a value of the configuration may be, told in sentences: zod's schemas with our words.

import * as z from 'zod';
import { type Fault, Given, isBlock, opened, type Path, shown } from './tree.ts';

/** Optional, so that a missing key is told in our words. */
const ANYTHING = z.unknown().optional();

/** A value that `read` understands, described for people. */
export function leaf<T>(expected: string, read: (value: unknown) => T | undefined, show = shown) {
  return ANYTHING.transform((value, context): T => {
    const result = read(value);
    if (result === undefined) {
      context.addIssue({ code: 'custom', message: `expected ${expected}, found ${show(value)}` });
      return z.NEVER;
    }
    return result;
  });
}

export const textOf = (value: unknown) =>
  value instanceof Given ? value.text : typeof value === 'string' ? value : undefined;

export function text(expected: string, accept: (text: string) => boolean = (given) => given !== '') {
  return leaf(expected, (value) => {
    const given = textOf(value);
    return given !== undefined && !given.includes('\0') && accept(given) ? given : undefined;
  });
}

export function whole(min: number, max: number) {
  return leaf(`a whole number from ${min} to ${max}`, (value) => {
    const number = value instanceof Given && /^-?\d{1,16}$/.test(value.text) ? Number(value.text) : value;
    return Number.isInteger(number) && (number as number) >= min && (number as number) <= max
      ? (number as number)
      : undefined;
  });
}

export const flag = leaf('true or false', (value) => {
  const given = value instanceof Given ? { true: true, false: false }[value.text] : value;
  return typeof given === 'boolean' ? given : undefined;
});

export function oneOf<const T extends string>(words: readonly T[]) {
  return leaf(`one of ${words.join(', ')}`, (value) => words.find((word) => word === textOf(value)));
}

/** The key that chose the block; it is known by then. */
export const typed = <T extends string>(type: T) => ANYTHING.transform((): T => type);

/** What the schema makes of the value; its issues become the context's. */
function delegated<T>(schema: z.ZodType<T>, value: unknown, context: z.RefinementCtx): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  for (const issue of result.error.issues) context.issues.push({ ...issue, input: undefined } as z.core.$ZodRawIssue);
  return z.NEVER;
}

/** Keys and values. Unknown keys are faults; their issue's message lists the known ones, for `issueFaults`. */
export function block<T extends z.core.$ZodLooseShape>(shape: T) {
  const object = z.strictObject(shape, { error: () => Object.keys(shape).join(' ') });
  return chosen((value) => (isBlock(value) ? object : `expected keys and values, found ${shown(value)}`));
}

export function list<T extends z.ZodType>(entry: T, expected: string, min: number) {
  const array = z.array(entry);
  return chosen((value) =>
    Array.isArray(value) && value.length >= min ? array : `expected ${expected}, found ${shown(value)}`,
  );
}

/** Read by the schema that the value itself decides about; or a sentence why there is none. A missing value is `{}`. */
export function chosen<T>(choose: (value: unknown) => z.ZodType<T> | string) {
  return ANYTHING.transform((given, context): T => {
    const value = given === undefined ? {} : opened(given);
    const schema = choose(value);
    if (typeof schema !== 'string') return delegated(schema, value, context);
    context.addIssue({ code: 'custom', message: schema });
    return z.NEVER;
  });
}

/** A block with a `type`, `fallback` unless given. */
export function byType<T extends { type: string }>(schemas: Record<string, z.ZodType<T>>, fallback: string) {
  const type = oneOf(Object.keys(schemas)).default(fallback);
  const wrongType = z.object({ type }) as unknown as z.ZodType<T>;
  return chosen((value): z.ZodType<T> | string => {
    if (!isBlock(value)) return `expected keys and values, found ${shown(value)}`;
    const name = Object.hasOwn(value, 'type') ? textOf(value.type) : fallback;
    return name !== undefined && Object.hasOwn(schemas, name) ? schemas[name]! : wrongType;
  });
}

export function issueFaults(path: Path, issue: z.core.$ZodIssue): Fault[] {
  if (issue.code !== 'unrecognized_keys') return [{ path, sentence: issue.message }];
  return issue.keys.map((key) => unknownKey([...path, key], issue.message.split(' ')));
}

export function unknownKey(path: Path, known: readonly string[]): Fault {
  const meant = nearest(String(path.at(-1)), known);
  return { path, sentence: meant === undefined ? 'unknown key' : `unknown key; did you mean ${meant}?` };
}

/** What somebody who wrote `key` may have meant. */
export function nearest(key: string, known: readonly string[]): string | undefined {
  const plain = (text: string) => text.toLowerCase().replaceAll(/[_-]/g, '').slice(0, 64);
  const [best] = known
    .map((name) => ({ name, distance: editDistance(plain(key), plain(name)) }))
    .filter(({ name, distance }) => distance <= Math.max(1, Math.floor(name.length / 3)))
    .sort((a, b) => a.distance - b.distance);
  return best?.name;
}

/** How many letters to insert, drop or replace. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}
