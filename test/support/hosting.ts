// Ready-made component sides of the attach stream.

import type { AggregateHosting, Hello, Reply, Work } from '../../src/gen/daybook/v1/component.ts';
import type { EventPage } from '../../src/model/book.ts';
import { balanceOf, decideAccount } from './account.ts';
import { textOf } from './books.ts';
import type { TestHost } from './daemon.ts';

export function hello(aggregates: Partial<AggregateHosting>[], rest: Partial<Hello> = {}): Hello {
  return {
    protocolVersion: 1,
    features: [],
    name: 'test',
    version: '1',
    instance: 'i1',
    aggregates: aggregates.map((hosting) => ({
      domain: 'account',
      credits: undefined,
      keepsState: false,
      snapshotSchemaVersion: 0,
      ...hosting,
    })),
    projectors: [],
    sagas: [],
    processManagers: [],
    upcasters: [],
    fileDescriptorSet: new Uint8Array(),
    ...rest,
  };
}

export function commandOf(work: Work) {
  if (work.request?.$case !== 'command') throw new Error(`expected a command, found ${work.request?.$case}`);
  return work.request.value;
}

/** Introduces itself and waits for Welcome. */
export async function introduce(host: TestHost, hosting: Partial<AggregateHosting> = {}): Promise<void> {
  host.send({ hello: hello([hosting]) });
  const { welcome } = await host.next();
  if (welcome === undefined) throw new Error('expected Welcome first');
}

/** The next work, whatever comes before it. */
export async function nextWork(host: TestHost): Promise<Work> {
  for (;;) {
    const message = await host.next();
    const [work] = message.work;
    if (work !== undefined) return work;
  }
}

/** Answers every command as an account does, from the history that comes along. */
export async function hostAccount(host: TestHost, hosting: Partial<AggregateHosting> = {}): Promise<void> {
  await introduce(host, hosting);
  const states = new Map<string, { next: number; balance: number }>();
  const chunks = new Map<string, EventPage[]>();
  const answer = (work: Work): Reply => {
    const { events, command, baseSequence } = commandOf(work);
    const root = Buffer.from(command!.cover!.root!.value).toString('hex');
    const pages = [...(chunks.get(work.workId) ?? []), ...events!.pages];
    chunks.delete(work.workId);
    const known = baseSequence === 0 ? { next: 0, balance: 0 } : states.get(root);
    if (known === undefined || known.next !== baseSequence) {
      return { workId: work.workId, result: { $case: 'needHistory', value: {} } };
    }
    const balance =
      (events!.snapshot === undefined ? known.balance : Number(textOf(events!.snapshot.state))) + balanceOf({ pages });
    if (hosting.keepsState) states.set(root, { next: events!.nextSequence, balance });
    const decision = decideAccount(balance, command!);
    const value =
      decision.kind === 'events'
        ? { result: { $case: 'events', value: decision.book } as const }
        : { result: { $case: 'rejection', value: decision.rejection } as const };
    return { workId: work.workId, result: { $case: 'command', value } };
  };
  host.onMessage = (message) => {
    host.messages.length = 0;
    for (const chunk of message.history) {
      const before = chunk.first ? [] : (chunks.get(chunk.workId) ?? []);
      chunks.set(chunk.workId, [...before, ...chunk.events!.pages]);
    }
    const replies = message.work.map((work) => {
      try {
        return answer(work);
      } catch (error) {
        return {
          workId: work.workId,
          result: { $case: 'failure', value: { message: String(error), overloaded: false } },
        } as Reply;
      }
    });
    if (replies.length > 0) host.send({ replies });
  };
}

/** A reply with events. */
export function eventsReply(workId: string, book: Parameters<typeof Object>[0]): Reply {
  return { workId, result: { $case: 'command', value: { result: { $case: 'events', value: book } } } } as Reply;
}
