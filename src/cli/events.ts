// `daybook events`: the history of one aggregate.

import type { Query, TemporalQuery } from '../gen/daybook/v1/query.ts';
import { parseAggregate, parseTime, wholeNumber } from './arguments.ts';
import { ask, type ConnectOptions, daemonAddress } from './connect.ts';
import { usage } from './exit-codes.ts';
import { complain } from './output.ts';
import { PagePrinter } from './pages.ts';
import { fetchTypes } from './types.ts';

export interface EventsOptions extends ConnectOptions {
  from?: number;
  to?: number;
  asOf?: string;
  tenant?: string;
  json?: boolean;
  raw?: boolean;
}

export async function events(aggregate: string, options: EventsOptions): Promise<void> {
  const { domain, root } = parseAggregate(aggregate);
  const cover = { root: { value: root }, domain, tenant: options.tenant ?? '', correlationId: '' };
  let found = false;
  const query = { cover, selection: selection(options), consistencyToken: '' };
  const address = daemonAddress(options);
  const { json = false, raw = false } = options;
  const types = raw ? undefined : await fetchTypes(address);
  const printer = new PagePrinter({ json, raw, types, correlation: false });
  for await (const book of ask(address, 'getEvents', query)) {
    found ||= book.pages.length > 0 || book.snapshot !== undefined;
    await printer.book(book);
  }
  if (!found) complain(`no such events of ${aggregate}`);
}

/** For commander: a place in a history. */
export const sequence = (option: string) => wholeNumber(option, 0, 0xffffffff);

function selection({ from, to, asOf }: EventsOptions): Query['selection'] {
  if (asOf === undefined) {
    if (from !== undefined && to !== undefined && from > to) throw usage('--from is greater than --to');
    return { $case: 'range', value: { lower: from ?? 0, upper: to } };
  }
  if (from !== undefined || to !== undefined) throw usage('--as-of stands alone, without --from and --to');
  return { $case: 'temporal', value: pointInTime(asOf) };
}

/** A sequence or a time. */
export function pointInTime(text: string): TemporalQuery {
  const point = /^\d+$/.test(text)
    ? { $case: 'asOfSequence' as const, value: sequence('--as-of')(text) }
    : { $case: 'asOfTime' as const, value: parseTime('--as-of', text) };
  return { point };
}
