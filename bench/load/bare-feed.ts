// The floor of P5: what events to a projector cannot do without, and nothing else. The log is read, ten events are put into a request, requests
// into messages, and the other side of a stream decodes and answers each. Nobody keeps account of anything.

import * as grpc from '@grpc/grpc-js';
import { ComponentMessage, CoordinatorMessage, type Work } from '../../src/gen/daybook/v1/component.ts';
import type { EventBook, EventPage } from '../../src/model/book.ts';
import type { Store } from '../../src/store.ts';
import { openPostgres } from '../../src/stores/postgres/index.ts';
import { serve } from '../lib/processes.ts';
import { ECHO, listen } from './transport.ts';

export interface BareFeedJob {
  url: string;
  events: number;
}

const PAGES = 10;
const IN_HAND = 100;
const server = new grpc.Server();
let number = 0;

let store: Store | undefined;

async function open({ url, events }: BareFeedJob): Promise<string> {
  const opened = await openPostgres({ connectionString: url, readOnly: true });
  store = opened;
  server.addService(ECHO, {
    stream: async (stream: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      let inHand = 0;
      let answered = () => {};
      stream.on('data', (message: Buffer) => {
        inHand -= ComponentMessage.decode(message).replies.length;
        answered();
      });
      const read = (after: number) => opened.readLog({ after, filter: {}, maxEvents: 1000, maxBytes: 1 << 20 });
      let next = read(0);
      for (let through = 0; through < events; ) {
        const { books, through: looked } = await next;
        if (looked === through) throw new Error(`the log ends at ${through}, not at ${events}`);
        through = looked;
        next = read(through);
        const work = requests(books);
        stream.write(messageOf(work));
        inHand += work.length;
        while (inHand > IN_HAND) await new Promise<void>((resolve) => (answered = resolve));
      }
      while (inHand > 0) await new Promise<void>((resolve) => (answered = resolve));
      stream.end();
    },
  });
  return listen(server);
}

function requests(books: readonly EventBook[]): Work[] {
  const work: Work[] = [];
  let pages: EventPage[] = [];
  for (const book of books) {
    pages.push(...book.pages);
    if (pages.length < PAGES && book !== books.at(-1)) continue;
    const delivery = {
      subscription: 'bare',
      generation: 1,
      epoch: 1,
      partition: 0,
      attempt: 1,
      replaying: false,
      position: pages.at(-1)!.position,
      dryRun: false,
    };
    const value = { events: { ...book, pages }, delivery, projector: 'bare', current: undefined, workId: '' };
    work.push({
      workId: `${++number}`,
      timeoutMs: 1000,
      traceparent: '',
      tracestate: '',
      component: 'bare',
      request: { $case: 'projector', value },
    });
    pages = [];
  }
  return work;
}

function messageOf(work: Work[]): Buffer {
  const message = { welcome: undefined, history: [], work, cancels: [], notices: [], drain: undefined };
  const bytes = CoordinatorMessage.encode(message).finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

serve(open, async () => {
  server.forceShutdown();
  await store?.close();
});
