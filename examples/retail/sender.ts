// Sends orders until each is answered, whatever happens to the daemon meanwhile.

import { type Client, DaybookError, type Host, type Pipeline } from '@daybook/client';
import { countOrder, rootOfCustomer } from './customer.ts';
import type { RetailOrder } from './orders-file.ts';

export interface Sent {
  answered: number;
  /** Sent more than once, because no answer came. */
  repeated: number;
  /** Of these, how many had taken effect already, as the daemon knew by their keys. */
  known: number;
}

/** `onAnswer` is called after each answer. Throws what no repeat can mend. */
export async function sendAll(
  client: Client,
  host: Host,
  orders: readonly RetailOrder[],
  onAnswer: (sent: Sent) => void,
): Promise<Sent> {
  const sent: Sent = { answered: 0, repeated: 0, known: 0 };
  const unanswered = new Set(orders);
  const tried = new Set<RetailOrder>();
  while (unanswered.size > 0) {
    await host.ready();
    await sendOnce(client.pipeline(), unanswered, async (order, answer) => {
      if (tried.has(order)) sent.repeated++;
      tried.add(order);
      const { duplicate } = await answer;
      unanswered.delete(order);
      sent.answered++;
      if (duplicate) sent.known++;
      onAnswer(sent);
    });
  }
  return sent;
}

/** Sends in order, as fast as the pipeline takes them, until one fails or all are answered. */
async function sendOnce(
  pipeline: Pipeline,
  orders: Iterable<RetailOrder>,
  follow: (order: RetailOrder, answer: ReturnType<Pipeline['send']>) => Promise<void>,
): Promise<void> {
  let failure: unknown;
  const noteFailure = (error: unknown): void => {
    failure ??= error;
  };
  for (const order of [...orders]) {
    await pipeline.ready().catch(noteFailure);
    if (failure !== undefined) break;
    follow(order, pipeline.send(commandOf(order))).catch(noteFailure);
  }
  await pipeline.close();
  if (failure === undefined) return;
  if (!(failure instanceof DaybookError) || !failure.retryable) throw failure;
  await new Promise((resolve) => setTimeout(resolve, 100));
}

/** The key comes from the order number: whoever sends this order again, even after a restart, sends the same key. */
function commandOf(order: RetailOrder) {
  const { customerNo, ...counted } = order;
  return {
    domain: 'customer',
    root: rootOfCustomer(customerNo),
    payload: countOrder(counted),
    idempotencyKey: `order ${order.orderNo}`,
  };
}
