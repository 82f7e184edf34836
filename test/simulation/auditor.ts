// Looks at what clients were told and at what the store holds in the end, and says which promise was broken. It knows the domains of the
// simulation, and nothing of the daemon.

import type { EventPage } from '../../src/model/book.ts';
import type { ProjectionRow, Store } from '../../src/store.ts';
import { auditBank } from './audit-bank.ts';
import { auditOrders } from './audit-orders.ts';
import type { Clients, Told } from './clients.ts';
import type { Follower } from './follower.ts';
import { type Data, numberOf, said } from './payloads.ts';
import type { Plan } from './plan.ts';

/** One event of the log. */
export interface Logged {
  position: number;
  sequence: number;
  stream: string;
  domain: string;
  number: number;
  correlationId: string;
  type: string;
  data: Data;
  unit: string;
  createdAtMicros: number;
  page: EventPage;
}

export interface Log {
  events: Logged[];
  streams: Map<string, Logged[]>;
}

export type Broken = (what: string) => void;

export async function audit(world: {
  plan: Plan;
  store: Store;
  clients: Clients;
  followers: readonly Follower[];
  rows: ReadonlyMap<string, ProjectionRow>;
}): Promise<{ log: number; broken: string[] }> {
  const { plan, store, clients, followers, rows } = world;
  const found: string[] = [];
  const broken = (what: string) => void found.push(what);
  const log = await read(store);
  auditLog(log, broken);
  for (const told of clients.told) auditClient(log, told, broken);
  auditOwners(log, clients.told, broken);
  for (const follower of followers) auditFollower(log, follower, broken);
  await auditLeftovers(store, broken);
  if (plan.workload === 'orders') auditOrders(log, plan, broken);
  else await auditBank(log, store, plan, rows, broken);
  return { log: log.events.length, broken: found };
}

async function read(store: Store): Promise<Log> {
  const events: Logged[] = [];
  const streams = new Map<string, Logged[]>();
  for (let after = 0; ; ) {
    const { books, through } = await store.readLog({ after, filter: {}, maxEvents: 1000, maxBytes: 1 << 24 });
    for (const { cover, pages } of books) {
      const { domain, root, correlationId } = cover!;
      const number = numberOf(root!.value);
      const stream = `/${domain}/${Buffer.from(root!.value).toString('hex')}`;
      for (const page of pages) {
        const { seconds, nanos } = page.createdAt!;
        const event: Logged = {
          position: page.position,
          sequence: page.sequence,
          stream,
          domain,
          number,
          correlationId,
          ...said(page.event!),
          unit: Buffer.from(page.unitId).toString('hex'),
          createdAtMicros: seconds * 1e6 + nanos / 1000,
          page,
        };
        events.push(event);
        const all = streams.get(stream);
        if (all === undefined) streams.set(stream, [event]);
        else all.push(event);
      }
    }
    if (through === after) return { events, streams };
    after = through;
  }
}

/** Positions and sequences without gap, times that never decrease within a stream. */
function auditLog({ events, streams }: Log, broken: Broken): void {
  for (const [i, { position }] of events.entries()) {
    if (position !== i + 1) return broken(`position ${i + 1} of the log is ${position}`);
  }
  for (const [stream, all] of streams) {
    for (const [i, event] of all.entries()) {
      if (event.sequence !== i) return broken(`sequence ${i} of ${stream} is ${event.sequence}`);
      if (i > 0 && event.createdAtMicros < all[i - 1]!.createdAtMicros)
        broken(`the time of ${stream} goes back at ${i}`);
      // Who decided it says on which history, and that is the one that there was.
      const { at } = event.data;
      if (at !== undefined && at !== event.sequence) broken(`${stream} ${i} was decided at ${at}`);
    }
  }
}

/** What was acknowledged is there, once; the same key got the same answer; a rejection was true when it was given. */
function auditClient({ streams }: Log, told: Told, broken: Broken): void {
  const { planned, stream, answers, end } = told;
  const about = `${planned.type} ${planned.id}`;
  const all = streams.get(stream) ?? [];
  const mine = all.filter(({ data, type }) => data.id === planned.id && OWN.has(type));
  if (end === 'open') broken(`${about} was never answered`);
  if ((end === 'failed' || end === 'conflict') && mine.length > 0) broken(`${about}: it failed, and is in the log`);
  if (new Set(mine.map(({ unit }) => unit)).size > 1) broken(`${about} took effect twice`);
  const [first] = answers;
  for (const answer of answers) {
    if (answer.kind !== first!.kind || answer.first !== first!.first || answer.count !== first!.count) {
      broken(
        `${about} was answered ${answer.kind} ${answer.first}+${answer.count}, before ${first!.kind} ${first!.first}+${first!.count}`,
      );
    }
    if (answer.code !== first!.code || answer.at !== first!.at) broken(`${about}: its rejection changed`);
    if (answer.kind === 'rejected') {
      if (mine.length > 0) broken(`${about} was rejected, and is in the log`);
      if (!answer.duplicate) auditRejection(all, told, answer, broken);
      continue;
    }
    if (mine.length !== answer.count)
      broken(`${about}: ${answer.count} events were acknowledged, ${mine.length} are there`);
    for (const [i, unit] of answer.units.entries()) {
      const event = all[answer.first + i];
      const same = event?.unit === unit && event.createdAtMicros === answer.createdAtMicros[i];
      if (!same) broken(`${about}: what was acknowledged at ${answer.first + i} of ${stream} is another event`);
      if (i === answer.count - 1 && event?.position !== answer.position) broken(`${about}: its position changed`);
    }
    if (planned.type !== 'Touch' && answer.count === 0) broken(`${about} was acknowledged without an event`);
  }
}

/** Decided on a history that there was between question and answer, by what the domain says of it. */
function auditRejection(
  all: Logged[],
  { planned, sentAt, answeredAt }: Told,
  answer: Told['answers'][number],
  broken: Broken,
): void {
  const from = Math.min(...sentAt);
  const to = answeredAt[answer.attempt]!;
  const about = `${planned.type} ${planned.id}`;
  if (answer.at < from || answer.at > to) {
    return broken(`${about} was rejected on the history of ${answer.at} events, there were ${from} to ${to}`);
  }
  const before = all[answer.at - 1];
  const balance = before === undefined ? 0 : balanceAfter(all, answer.at);
  if (answer.balance !== balance && planned.type !== 'Place') {
    broken(`${about} was rejected on a balance of ${answer.balance}, it was ${balance}`);
  }
  const closed = all.slice(0, answer.at).some(({ type }) => type === 'Closed');
  const may = answer.code === 'CLOSED' ? closed : answer.code === 'INSUFFICIENT' ? planned.amount > balance : true;
  if (!may) broken(`${about} was rejected as ${answer.code}, which it was not`);
}

const SIGNS: Record<string, number> = {
  Deposited: 1,
  Recorded: 1,
  Credited: 1,
  Refunded: 1,
  Supplied: 1,
  Withdrawn: -1,
  Started: -1,
  Reserved: -1,
};

export function balanceAfter(all: readonly Logged[], count: number): number {
  let balance = 0;
  for (const { type, data } of all.slice(0, count)) balance += (SIGNS[type] ?? 0) * Number(data.amount ?? 0);
  return balance;
}

/** Events that a client's command leads to at once. */
const OWN = new Set(['Deposited', 'Withdrawn', 'Started', 'Closed', 'Recorded', 'Placed', 'Supplied', 'Paid']);

/** Nothing is in the log that nobody asked for. */
function auditOwners({ events }: Log, told: readonly Told[], broken: Broken): void {
  const ids = new Set(told.map(({ planned }) => planned.id));
  for (const { type, data, stream, sequence } of events) {
    if (OWN.has(type) && !ids.has(Number(data.id))) broken(`nobody asked for ${stream} ${sequence} (${type})`);
  }
}

/** Every event once, in order. */
function auditFollower({ events }: Log, { seen }: Follower, broken: Broken): void {
  for (const [i, { position, unit }] of seen.entries()) {
    if (position !== i + 1) return broken(`a follower saw position ${position} as number ${i + 1}`);
    if (events[i]?.unit !== unit) return broken(`a follower saw another event at position ${position}`);
  }
}

/** Everything was handled: no row is left of it. */
async function auditLeftovers(store: Store, broken: Broken): Promise<void> {
  for (const cursor of await store.listCursors()) {
    const done = await store.listDone(cursor);
    if (done.length > 0) broken(`done marks are left of ${cursor.subscription} ${cursor.partition}: ${done}`);
  }
}
