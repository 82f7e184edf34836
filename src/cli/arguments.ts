// What people may write on the command line, read into what calls need.

import type { Timestamp } from '../model/book.ts';
import { toTimestamp } from '../model/time.ts';
import { usage } from './exit-codes.ts';

/** `order/6f3c…`: a domain and a root, as a UUID or as 32 hexadecimal digits. */
export function parseAggregate(text: string): { domain: string; root: Uint8Array } {
  const [, domain, root] = /^([a-z][a-z0-9_-]{0,63})\/([0-9a-fA-F-]+)$/.exec(text) ?? [];
  const digits = root !== undefined && /^(.{32}|.{8}-.{4}-.{4}-.{4}-.{12})$/.test(root) ? root.replaceAll('-', '') : '';
  if (domain === undefined || !/^[0-9a-fA-F]{32}$/.test(digits)) {
    throw usage(`expected <domain>/<root> with the root as a UUID or 32 hexadecimal digits, found ${text}`);
  }
  return { domain, root: Uint8Array.from(Buffer.from(digits, 'hex')) };
}

/** For commander: a whole number from `min` to `max`. */
export function wholeNumber(option: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (number >= min && number <= max) return number;
    throw usage(`${option}: expected a whole number from ${min} to ${max}, found ${text}`);
  };
}

/** A date, or a date and time, in ISO 8601; without a zone it is UTC. */
export function parseTime(option: string, text: string): Timestamp {
  const match = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}:\d{2})?$/.exec(text);
  const [, date, time = '00:00', fraction = '', zone = 'Z'] = match ?? [];
  const milliseconds = Date.parse(`${date}T${time}${zone}`);
  if (match === null || Number.isNaN(milliseconds)) {
    throw usage(`${option}: expected a time as 2026-01-31T12:00:00Z, found ${text}`);
  }
  return toTimestamp(milliseconds * 1000 + Number(fraction.padEnd(6, '0').slice(0, 6)));
}

/** For commander: an option that may be repeated. Empty texts would widen a filter to everything. */
export function repeatable(option: string): (text: string, earlier: string[] | undefined) => string[] {
  return (text, earlier = []) => {
    if (text === '') throw usage(`${option}: expected a name, found nothing`);
    return [...earlier, text];
  };
}
