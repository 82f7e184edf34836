// The other side of `bare-feed.ts`: decodes every request, and answers it.

import { ComponentMessage, CoordinatorMessage } from '../../src/gen/daybook/v1/component.ts';
import { counted, type LoadResult } from './pipelined.ts';
import { clientOf, duplex, ECHO } from './transport.ts';

export interface TakeJob {
  kind: 'take';
  address: string;
}

export async function take({ address }: TakeJob): Promise<LoadResult> {
  const stream = duplex(clientOf(address), ECHO.stream.path);
  let answered = 0;
  let firstMs = 0;
  stream.on('data', (message: Buffer) => {
    if (answered === 0) firstMs = performance.now();
    const { work } = CoordinatorMessage.decode(message);
    const replies = work.map(({ workId, request }) => {
      if (request?.$case === 'projector') answered += request.value.events!.pages.length;
      return { workId, result: { $case: 'projector' as const, value: { projections: [] } } };
    });
    stream.write(Buffer.from(ComponentMessage.encode({ hello: undefined, replies, drain: undefined }).finish()));
  });
  await new Promise((resolve) => stream.on('end', resolve));
  const seconds = (performance.now() - firstMs) / 1000;
  stream.end();
  return counted(answered, seconds);
}
