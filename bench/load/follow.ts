// One command after the other on the gateway's stream: until the event that a saga's command led to is there.

import { connect } from '@daybook/client';
import { DOMAIN, payload, rootBytes, TYPE_URL } from './messages.ts';
import type { LoadResult } from './pipelined.ts';
import { closedLoop } from './unary.ts';

export interface FollowJob {
  kind: 'follow';
  address: string;
  seconds: number;
  aggregates: number;
}

let turn = 0;

export async function follow({ address, seconds, aggregates }: FollowJob): Promise<LoadResult> {
  const client = connect({ address });
  const event = { typeUrl: TYPE_URL, value: payload() };
  const result = await closedLoop(seconds, 1, async () => {
    const root = rootBytes(turn++ % aggregates);
    const domains: string[] = [];
    for await (const book of client.executeStreamCount({ domain: DOMAIN, root, payload: event }, 2)) {
      domains.push(book.cover!.domain);
    }
    if (domains.join() !== `${DOMAIN},follower`) throw new Error(`expected two books, found ${domains.join()}`);
  });
  client.close();
  return result;
}
