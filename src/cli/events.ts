// `daybook events`: the history of one aggregate.

import type { Query } from '../gen/daybook/v1/query.ts';
import { parseAggregate, parseTime, wholeNumber } from './arguments.ts';
import { ask, type ConnectOptions, daemonAddress } from './connect.ts';
import { usage } from './exit-codes.ts';
import { complain } from './output.ts';
import { PagePrinter } from './pages.ts';

export interface EventsOptions extends ConnectOptions {
  from?: number;
  to?: number;
  asOf?: string;
  tenant?: string;
  json?: boolean;
}

export async function events(aggregate: string, options: EventsOptions): Promise<void> {
  const { domain, root } = parseAggregate(aggregate);
  const cover = { root: { value: root }, domain, tenant: options.tenant ?? '', correlationId: '' };
  const printer = new PagePrinter(options.json === true);
  let found = false;
  const query = { cover, selection: selection(options), consistencyToken: '' };
  for await (const book of ask(daemonAddress(options), 'getEvents', query)) {
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
  const point = /^\d+$/.test(asOf)
    ? { $case: 'asOfSequence' as const, value: sequence('--as-of')(asOf) }
    : { $case: 'asOfTime' as const, value: parseTime('--as-of', asOf) };
  return { $case: 'temporal', value: { point } };
}
