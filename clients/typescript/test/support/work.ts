// Work as the daemon sends it to projectors, sagas and process managers, and a host that gets it.

import type { CoordinatorMessage, Reply } from '../../src/gen/daybook/v1/component.ts';
import type { EventPage } from '../../src/gen/daybook/v1/types.ts';
import { root } from './counter.ts';
import type { Attachment } from './fake-daemon.ts';

type PartialWork = NonNullable<Parameters<typeof CoordinatorMessage.fromPartial>[0]['work']>[number];
type PartialRequest = NonNullable<PartialWork['request']>;

export const cover = { root: { value: root }, domain: 'counter', correlationId: 'c-1', tenant: 't' };
export const processRoot = new Uint8Array(16).fill(9);
export const processCover = { ...cover, root: { value: processRoot }, domain: 'rounds' };
export const delivery = { subscription: 'any', generation: 2, epoch: 7, partition: 3, attempt: 1, position: 40 };

export function book(...pages: EventPage[]) {
  return { cover, pages };
}

export function work(component: string, request: PartialRequest, workId = 'w1'): PartialWork {
  return { workId, component, timeoutMs: 30_000, traceparent: 'trace', request };
}

export function projectorWork(value: Extract<PartialRequest, { $case: 'projector' }>['value'], workId?: string) {
  return work('totals', { $case: 'projector', value: { projector: 'totals', delivery, ...value } }, workId);
}

export function sagaWork(page: EventPage, workId?: string) {
  return work('echo', { $case: 'saga', value: { source: book(page), delivery } }, workId);
}

export function processWork(value: Extract<PartialRequest, { $case: 'processManager' }>['value'], workId?: string) {
  const request = { processState: { cover: processCover }, delivery, ...value };
  return work('rounds', { $case: 'processManager', value: request }, workId);
}

export async function ask(attachment: Attachment, sent: PartialWork): Promise<Reply> {
  attachment.send({ work: [sent] });
  return attachment.reply();
}

/** The reply's value, which must be of this kind. */
export function resultOf<C extends NonNullable<Reply['result']>['$case']>(
  reply: Reply,
  kind: C,
): Extract<NonNullable<Reply['result']>, { $case: C }>['value'] {
  if (reply.result?.$case !== kind) throw new Error(`expected ${kind}, found ${JSON.stringify(reply.result)}`);
  return reply.result.value as never;
}
