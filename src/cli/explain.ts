// `daybook explain`: what led to what in one conversation.

import { status } from '@grpc/grpc-js';
import type { RecordedRejection } from '../gen/daybook/v1/query.ts';
import type { Cover, EventBook, Origin } from '../model/book.ts';
import { uuidText } from '../model/stream.ts';
import { timeText } from '../model/time.ts';
import type { PayloadTypes } from '../payloads/payload-types.ts';
import { describe } from '../payloads/text.ts';
import { causalTree, type Decision, type Happening } from './causes.ts';
import { ask, CallFailed, type ConnectOptions, daemonAddress } from './connect.ts';
import { EXIT, usage } from './exit-codes.ts';
import { complain, plainText, print } from './output.ts';
import { aggregateJson, pageJson, payloadJson } from './pages.ts';
import { rejectionText } from './send.ts';
import { fetchTypes } from './types.ts';

export interface ExplainOptions extends ConnectOptions {
  tenant?: string;
  limit: number;
  json?: boolean;
}

export async function explain(correlationId: string, options: ExplainOptions): Promise<void> {
  if (!/^[\x20-\x7e]{1,128}$/.test(correlationId)) {
    throw usage('expected a correlation id: 1 to 128 printable ASCII characters');
  }
  const address = daemonAddress(options);
  const types = await fetchTypes(address);
  const tenant = options.tenant ?? '';
  const books = await readBooks(address, tenant, correlationId, options.limit);
  const rejections = await readRejections(address, tenant, correlationId, options.limit);
  const tree = causalTree(books, rejections);
  if (options.json) {
    await print(
      JSON.stringify({ correlation_id: correlationId, decisions: tree.map((each) => decisionJson(each, types)) }),
    );
  } else for (const decision of tree) await printDecision(decision, types, '', '');
  if (tree.length > 0) return;
  complain(`nothing is known of the conversation ${correlationId}`);
  process.exitCode = EXIT.fault;
}

async function readBooks(address: string, tenant: string, correlationId: string, limit: number): Promise<EventBook[]> {
  const request = {
    start: undefined,
    tenant,
    allTenants: false,
    domains: [],
    types: [],
    correlationId,
    follow: false,
    limit: 0,
  };
  const books: EventBook[] = [];
  let events = 0;
  for await (const answer of ask(address, 'readLog', request)) {
    for (const book of answer.books) {
      events += book.pages.length;
      if (events > limit) {
        complain(`only the first ${limit} events are shown; --limit takes another number`);
        return books;
      }
      books.push(book);
    }
  }
  return books;
}

async function readRejections(
  address: string,
  tenant: string,
  correlationId: string,
  limit: number,
): Promise<RecordedRejection[]> {
  const rejections: RecordedRejection[] = [];
  try {
    for await (const rejection of ask(address, 'listRejections', { tenant, correlationId })) {
      if (rejections.length === limit) {
        complain(`only the first ${limit} rejections are shown; --limit takes another number`);
        break;
      }
      rejections.push(rejection);
    }
  } catch (thrown) {
    if (!(thrown instanceof CallFailed) || thrown.status !== status.UNIMPLEMENTED) throw thrown;
    complain('this daemon does not tell rejections: a newer one does');
  }
  return rejections;
}

// For people

async function printDecision(
  decision: Decision,
  types: PayloadTypes | undefined,
  first: string,
  rest: string,
): Promise<void> {
  const time = timeText(decision.time).slice(0, 23);
  const { rejection } = decision;
  const said = rejection === undefined ? '' : `  ✗ ${rejectionText(rejection)}`;
  await print(plainText(`${first}${time}Z  ${place(decision.cover)}  ${asked(decision)}${causedBy(decision)}${said}`));
  const several = decision.events.some(({ cover }) => place(cover) !== place(decision.cover));
  for (const [i, happening] of decision.events.entries()) {
    const last = i === decision.events.length - 1;
    await printHappening(happening, types, `${rest}${last ? '└─ ' : '├─ '}`, `${rest}${last ? '   ' : '│  '}`, several);
  }
}

async function printHappening(
  { cover, page, effects }: Happening,
  types: PayloadTypes | undefined,
  first: string,
  rest: string,
  withPlace: boolean,
): Promise<void> {
  const where = withPlace ? `${place(cover)} ` : '';
  await print(plainText(`${first}${where}#${page.sequence}  ${describe(page.event!, types)}${fact(page.origin)}`));
  for (const [i, effect] of effects.entries()) {
    const last = i === effects.length - 1;
    await printDecision(effect, types, `${rest}${last ? '└─ ' : '├─ '}`, `${rest}${last ? '   ' : '│  '}`);
  }
}

/** The root's first and last digits: those of one moment begin alike. */
function place({ tenant, domain, root }: Cover): string {
  const text = uuidText(root!.value);
  return `${tenant === '' ? '' : `${tenant}/`}${domain}/${text.slice(0, 8)}…${text.slice(-4)}`;
}

function asked({ commands, origin, events }: Decision): string {
  if (commands.length > 0) return commands.join(' + ');
  const facts = events.filter(({ page }) => page.origin?.externalSource).length;
  if (facts > 0) return facts === 1 ? 'a fact' : `${facts} facts`;
  return origin?.component ? 'a reaction' : 'no command';
}

function causedBy({ origin, orphan }: Decision): string {
  const by = origin?.component ? `  by ${origin.component}` : '';
  if (!orphan) return by;
  return `${by}  (after ${place(origin!.source!)} #${origin!.sourceSequence}, which is not shown)`;
}

function fact(origin: Origin | undefined): string {
  return origin?.externalSource ? `  (${origin.externalId} of ${origin.externalSource})` : '';
}

// For programs

function decisionJson(decision: Decision, types: PayloadTypes | undefined): object {
  const { cover, commands, time, origin, orphan, rejection, events } = decision;
  return {
    ...aggregateJson(cover),
    time: timeText(time),
    commands,
    component: origin?.component || undefined,
    cause: orphan ? { ...aggregateJson(origin!.source!), sequence: origin!.sourceSequence } : undefined,
    rejection: rejection && {
      code: rejection.code,
      message: rejection.message,
      details: rejection.details && payloadJson(rejection.details, { raw: false, types }),
    },
    events: events.map((each) => happeningJson(each, types)),
  };
}

function happeningJson({ cover, page, effects }: Happening, types: PayloadTypes | undefined): object {
  const { externalSource, externalId } = page.origin ?? {};
  return {
    ...pageJson({ ...cover, correlationId: '' }, page, { raw: false, types }),
    fact: externalSource ? { source: externalSource, id: externalId } : undefined,
    decisions: effects.map((each) => decisionJson(each, types)),
  };
}
