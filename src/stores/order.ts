// The order in which stores list: column by column, numbers by size and texts as their UTF-8 compares.

export type Place = readonly (string | number)[];

export function comparePlaces(a: Place, b: Place): number {
  for (let i = 0; i < a.length; i++) {
    const order = compareValues(a[i]!, b[i]!);
    if (order !== 0) return order;
  }
  return 0;
}

const SURROGATE = /[\ud800-\udfff]/;

function compareValues(a: string | number, b: string | number): number {
  if (a === b) return 0;
  // UTF-8 and UTF-16 differ in the order of what is behind surrogates alone.
  if (typeof a === 'string' && typeof b === 'string' && (SURROGATE.test(a) || SURROGATE.test(b))) {
    return Buffer.compare(Buffer.from(a), Buffer.from(b));
  }
  return a < b ? -1 : 1;
}
