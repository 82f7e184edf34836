// The simulation's own saga, projector and process manager. They answer differently each time they are asked (a nonce), so that an answer that
// takes effect twice shows.

import type { CommandBook, EventBook } from '../../src/model/book.ts';
import type {
  ProcessManagerRequest,
  ProcessManagerResponse,
  ProjectorRequest,
  ProjectorResponse,
  SagaRequest,
  SagaResponse,
  Timer,
} from '../../src/model/reaction.ts';
import { commandBook, coverOf, type Data, eventBook, eventPage, numberOf, payload, rootOf, said } from './payloads.ts';

/** A transfer's target is credited; every event of an account is noted in its journal, in order. */
export function transfers({ source }: SagaRequest, nonce: number, journal: 'command' | 'fact'): SagaResponse {
  const { cover, pages } = source!;
  const page = pages[0]!;
  const { type, data } = said(page.event!);
  const root = numberOf(cover!.root!.value);
  const commands: CommandBook[] = [];
  const events: EventBook[] = [];
  const note: Data = { of: page.sequence, type, nonce };
  const diary = coverOf('journal', root, '');
  if (journal === 'command') commands.push(commandBook(diary, 'Note', note));
  else events.push(eventBook(diary, [eventPage('Noted', note)]));
  if (type === 'Started') {
    const credit = { transfer: data.id, from: root, amount: data.amount, nonce };
    commands.push(commandBook(coverOf('account', Number(data.to), ''), 'Credit', credit));
  }
  return { commands, events };
}

/** A row of each account: how many of its events it has seen, their sum, and of which it had an effect: what it is told again has none. */
export function balances({ events, current, delivery }: ProjectorRequest): ProjectorResponse {
  const before = current?.projection === undefined ? {} : said(current.projection).data;
  let count = Number(before.count ?? 0);
  let sum = Number(before.sum ?? 0);
  const effects = String(before.effects ?? '');
  const { cover, pages } = events!;
  for (const page of pages) {
    count++;
    sum += signed(said(page.event!));
  }
  const added = delivery!.replaying ? '' : pages.map(({ sequence }) => `${sequence} `).join('');
  const projection = payload('Balance', { count, sum, last: pages.at(-1)!.sequence, effects: effects + added });
  const row = { cover, projector: '', sequence: 0, projection, key: '', position: 0, deleted: false };
  return { projections: [row] };
}

export function signed({ type, data }: { type: string; data: Data }): number {
  const amount = Number(data.amount ?? 0);
  if (type === 'Withdrawn' || type === 'Started') return -amount;
  return type === 'Closed' ? 0 : amount;
}

export const TICKS = 3;
const TICK_MS = 700;
const DEADLINE_MS = 2500;

interface Process {
  over: boolean;
  ticks: number;
}

/** An order is reserved and confirmed, or cancelled when there is no stock or it takes too long; meanwhile it ticks. */
export function fulfilment({ trigger, processState }: ProcessManagerRequest, nonce: number): ProcessManagerResponse {
  const state = foldProcess(processState!);
  const cover = processState!.cover!;
  const pages = [];
  const commands: CommandBook[] = [];
  const timers: Timer[] = [];
  const cancelledTimers: string[] = [];
  if (trigger!.$case === 'events') {
    const { cover: source, pages: happened } = trigger!.value;
    const page = happened[0]!;
    const { type, data } = said(page.event!);
    const root = numberOf(source!.root!.value);
    pages.push(eventPage('Saw', { type, domain: source!.domain, root, sequence: page.sequence, nonce }));
    if (type === 'Placed') {
      const reserve = { order: root, amount: data.amount, nonce };
      commands.push(commandBook(coverOf('stock', Number(data.item), ''), 'Reserve', reserve));
      timers.push(after('deadline', DEADLINE_MS, 1), after('tick', TICK_MS, 1));
    } else if (type === 'Reserved') {
      cancelledTimers.push('deadline');
      commands.push(commandBook(coverOf('order', Number(data.order), ''), 'Confirm', { nonce }));
    } else if (type === 'Confirmed' || type === 'Cancelled') {
      state.over = true;
      cancelledTimers.push('deadline');
    }
  } else if (trigger!.$case === 'rejection') {
    const { data, type } = said(trigger!.value.command!.pages[0]!.command!);
    pages.push(eventPage('Heard', { type, nonce }));
    if (type === 'Reserve') commands.push(cancel(Number(data.order), 'stock', nonce));
  } else {
    const { name, payload: given } = trigger!.value;
    const n = Number(said(given!).data.n);
    pages.push(eventPage('Fired', { name, n, nonce }));
    if (name === 'deadline') commands.push(cancel(orderOf(cover.correlationId), 'late', nonce));
    else {
      state.ticks++;
      if (n < TICKS) timers.push(after('tick', TICK_MS, n + 1));
    }
  }
  const ended = state.over && state.ticks >= TICKS;
  const processEvents = eventBook(cover, pages);
  return { processEvents, commands, facts: [], timers, cancelledTimers: ended ? [] : cancelledTimers, ended };
}

/** Processes are named after their order. */
export function correlationOf(order: number): string {
  return `order-${order}`;
}

function orderOf(correlationId: string): number {
  return Number(correlationId.slice('order-'.length));
}

function cancel(order: number, why: string, nonce: number): CommandBook {
  return commandBook(coverOf('order', order, ''), 'Cancel', { why, nonce });
}

function after(name: string, delayMs: number, n: number): Timer {
  const value = { seconds: Math.floor(delayMs / 1000), nanos: (delayMs % 1000) * 1e6 };
  return { name, when: { $case: 'after', value }, payload: payload('Timer', { n }) };
}

function foldProcess({ pages }: EventBook): Process {
  const state: Process = { over: false, ticks: 0 };
  for (const page of pages) {
    const { type, data } = said(page.event!);
    if (type === 'Saw' && (data.type === 'Confirmed' || data.type === 'Cancelled')) state.over = true;
    if (type === 'Fired' && data.name === 'tick') state.ticks++;
  }
  return state;
}

/** The sum that a handler's wrong answer names: rows of others. */
export const WRONG_COVER = { root: { value: rootOf(999) }, domain: 'nowhere', correlationId: 'other', tenant: '' };
