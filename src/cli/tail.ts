// `daybook tail`: the log in commit order, and what comes.

import type { ReadLogRequest } from '../gen/daybook/v1/query.ts';
import { toTimestamp } from '../model/time.ts';
import { ask, type ConnectOptions, daemonAddress } from './connect.ts';
import { usage } from './exit-codes.ts';
import { PagePrinter } from './pages.ts';
import { fetchTypes } from './types.ts';

export interface TailOptions extends ConnectOptions {
  domain?: string[];
  type?: string[];
  correlationId?: string;
  fromPosition?: number;
  new?: boolean;
  tenant?: string;
  allTenants?: boolean;
  limit?: number;
  follow: boolean;
  json?: boolean;
  raw?: boolean;
}

export async function tail(options: TailOptions): Promise<void> {
  if (options.tenant !== undefined && options.allTenants) throw usage('--tenant and --all-tenants exclude each other');
  if (options.correlationId === '') throw usage('--correlation-id: expected an id, found nothing');
  const request: ReadLogRequest = {
    start: start(options),
    tenant: options.tenant ?? '',
    allTenants: options.allTenants === true,
    domains: options.domain ?? [],
    types: options.type ?? [],
    correlationId: options.correlationId ?? '',
    follow: options.follow,
    limit: options.limit ?? 0,
  };
  const address = daemonAddress(options);
  const { json = false, raw = false } = options;
  const types = raw ? undefined : await fetchTypes(address);
  const printer = new PagePrinter({ json, raw, types, correlation: true });
  for await (const answer of ask(address, 'readLog', request)) {
    for (const book of answer.books) await printer.book(book);
  }
}

function start(options: TailOptions): ReadLogRequest['start'] {
  if (options.new) {
    if (options.fromPosition !== undefined) throw usage('--new and --from-position exclude each other');
    return { $case: 'fromTime', value: toTimestamp(Date.now() * 1000) };
  }
  if (options.fromPosition === undefined) return undefined;
  return { $case: 'afterPosition', value: options.fromPosition - 1 };
}
