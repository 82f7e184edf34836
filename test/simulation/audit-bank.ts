// Accounts: no money is made or lost, each transfer is credited or refunded once, each event is noted once and in order, and read models are
// what a plain fold gives.

import type { ProjectionRow, Store } from '../../src/store.ts';
import { type Broken, balanceAfter, type Log, type Logged } from './auditor.ts';
import { said } from './payloads.ts';
import { type Plan, PROJECTOR, SAGA } from './plan.ts';

export async function auditBank(
  log: Log,
  store: Store,
  plan: Plan,
  rows: ReadonlyMap<string, ProjectionRow>,
  broken: Broken,
): Promise<void> {
  const accounts = [...log.streams].filter(([, [first]]) => first!.domain === 'account');
  for (const [stream, events] of accounts) auditBalances(stream, events, broken);
  auditTransfers(log, broken);
  auditMoney(log, accounts, broken);
  for (const [, events] of accounts) auditJournal(log, events, broken);
  await auditProjections(accounts, store, plan, broken);
  for (const [stream, events] of accounts) auditEffects(stream, events, rows, broken);
}

/** The domain was shown the true history each time. */
function auditBalances(stream: string, events: readonly Logged[], broken: Broken): void {
  for (const [i, { data, type }] of events.entries()) {
    const balance = balanceAfter(events, i + 1);
    if (data.balance !== undefined && data.balance !== balance) {
      broken(`${stream} ${i} (${type}) was decided on a balance that led to ${data.balance}, it is ${balance}`);
    }
    if (balance < 0) broken(`${stream} is at ${balance} after ${i}`);
  }
}

function auditTransfers({ events }: Log, broken: Broken): void {
  const ends = new Map<number, Logged[]>();
  for (const event of events) {
    if (event.type !== 'Credited' && event.type !== 'Refunded') continue;
    const transfer = Number(event.data.transfer);
    ends.set(transfer, [...(ends.get(transfer) ?? []), event]);
  }
  for (const { type, data, number, position } of events) {
    if (type !== 'Started') continue;
    const [end, ...more] = ends.get(Number(data.id)) ?? [];
    ends.delete(Number(data.id));
    if (end === undefined) broken(`transfer ${data.id} was neither credited nor refunded`);
    else if (more.length > 0) broken(`transfer ${data.id} ended ${more.length + 1} times`);
    else if (end.data.amount !== data.amount || end.number !== (end.type === 'Credited' ? data.to : number)) {
      broken(`transfer ${data.id} ended elsewhere, or with another amount`);
    } else if (end.type === 'Credited' && end.page.origin?.sourcePosition !== position) {
      broken(`transfer ${data.id} names another cause`);
    }
  }
  for (const [transfer] of ends) broken(`transfer ${transfer} ended and was never started`);
}

function auditMoney({ events }: Log, accounts: readonly [string, Logged[]][], broken: Broken): void {
  let came = 0;
  for (const { type, data } of events) {
    if (type === 'Deposited' || type === 'Recorded') came += Number(data.amount);
    if (type === 'Withdrawn') came -= Number(data.amount);
  }
  const there = accounts.reduce((sum, [, own]) => sum + balanceAfter(own, own.length), 0);
  if (came !== there) broken(`${came} came in and ${there} is there`);
}

/** The saga's effects: one for each event, in the order of the account. */
function auditJournal({ streams }: Log, events: readonly Logged[], broken: Broken): void {
  const { stream } = events[0]!;
  const notes = streams.get(stream.replace('/account/', '/journal/')) ?? [];
  for (const [i, { data, page, type }] of notes.entries()) {
    const { origin } = page;
    if (type !== 'Noted' || origin?.component !== SAGA) broken(`${stream}: a note is none of the saga's`);
    if (data.of !== i) return broken(`${stream}: note ${i} is of event ${data.of}`);
    if (origin?.sourcePosition !== events[i]?.position) broken(`${stream}: note ${i} names another cause`);
  }
  if (notes.length !== events.length) broken(`${stream}: ${events.length} events, ${notes.length} notes`);
}

async function auditProjections(accounts: readonly [string, Logged[]][], store: Store, plan: Plan, broken: Broken) {
  const generation = await store.activeGeneration(PROJECTOR);
  if (accounts.length > 0) {
    const declared = (plan.rebuildAtMs > 0 ? 2 : 1) + (plan.rebuildAgain?.by === 'component' ? 1 : 0);
    const newest = await newestProjector(store);
    if (newest?.declared !== declared) broken(`the newest generation is ${newest?.declared}, not ${declared}`);
    if (newest?.generation !== generation) broken(`readers get ${generation}, and ${newest?.generation} is the newest`);
  }
  for (const [stream, events] of accounts) {
    const key = stream.slice('/account/'.length);
    const row = await store.readProjection({ tenant: '', projector: PROJECTOR, generation, key });
    const { count, sum, last } = row?.payload === undefined ? {} : said(row.payload).data;
    const wanted = [events.length, balanceAfter(events, events.length), events.length - 1];
    if (String([count, sum, last]) !== String(wanted))
      broken(`the row of ${stream} is ${[count, sum, last]}, not ${wanted}`);
    if (row !== undefined && row.position !== events.at(-1)!.position)
      broken(`the row of ${stream} is of ${row.position}`);
  }
}

/** Its generation in the store, where an operator's rebuilds count as well, and the one that its component declared. */
export async function newestProjector(store: Store): Promise<{ generation: number; declared: number } | undefined> {
  const newest = (await store.listSubscriptions()).filter(({ name }) => name === PROJECTOR).at(-1);
  return newest && { generation: newest.generation, declared: Math.floor(newest.version / 1_000_000) };
}

/** Each event had its effect once, in one of the generations: the others were told that they replay. */
function auditEffects(
  stream: string,
  events: readonly Logged[],
  rows: ReadonlyMap<string, ProjectionRow>,
  broken: Broken,
): void {
  const key = stream.slice('/account/'.length);
  const counts = new Map<number, number>();
  for (const row of rows.values()) {
    if (row.key !== key) continue;
    const effects = String(said(row.payload!).data.effects).split(' ').filter(Boolean);
    for (const sequence of effects) counts.set(Number(sequence), (counts.get(Number(sequence)) ?? 0) + 1);
  }
  for (const { sequence, position } of events) {
    const count = counts.get(sequence) ?? 0;
    if (count !== 1) broken(`${stream} ${sequence} (at ${position}) had ${count} effects`);
  }
}
