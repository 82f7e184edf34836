// Orders: a process sees every event that concerns it, once and in the order of the log; its timers fire once, and not after they were
// cancelled; each of its commands takes effect once.

import type { Broken, Log, Logged } from './auditor.ts';
import { type Plan, PROCESS_MANAGER } from './plan.ts';
import { TICKS } from './reactions.ts';

const WANTED = new Set(['Placed', 'Confirmed', 'Cancelled', 'Reserved', 'Paid']);

export function auditOrders(log: Log, _: Plan, broken: Broken): void {
  const processes = new Map<string, Logged[]>();
  const concerns = new Map<string, Logged[]>();
  for (const event of log.events) {
    const { domain, type, correlationId } = event;
    const place = domain === PROCESS_MANAGER ? processes : WANTED.has(type) ? concerns : undefined;
    place?.set(correlationId, [...(place.get(correlationId) ?? []), event]);
  }
  for (const [correlationId, events] of concerns) {
    auditProcess(correlationId, processes.get(correlationId) ?? [], events, broken);
  }
  for (const correlationId of processes.keys()) {
    if (!concerns.has(correlationId)) broken(`the process ${correlationId} came from nothing`);
  }
  for (const [stream, events] of log.streams) {
    if (events[0]!.domain === 'order') auditOrder(stream, events, broken);
    if (events[0]!.domain === 'stock') auditStock(stream, events, broken);
  }
}

function auditProcess(name: string, process: readonly Logged[], events: readonly Logged[], broken: Broken): void {
  const ended = process.findIndex(({ type }) => type === 'daybook.v1.ProcessEnded');
  if (ended >= 0 && ended !== process.length - 1) broken(`${name}: it goes on after its end`);
  const saw = process.filter(({ type }) => type === 'Saw');
  for (const [i, { data, page }] of saw.entries()) {
    const event = events[i];
    const same =
      event !== undefined &&
      data.domain === event.domain &&
      data.sequence === event.sequence &&
      data.type === event.type;
    if (!same || page.origin?.sourcePosition !== event.position) {
      return broken(
        `${name}: as number ${i} it saw ${data.type} of ${page.origin?.sourcePosition}, not ${event?.type} of ${event?.position}`,
      );
    }
  }
  // What came after the end is passed over.
  const last = ended < 0 ? Infinity : process[ended]!.position;
  const missed = events.slice(saw.length).find(({ position }) => ended < 0 || position < last);
  if (missed !== undefined && ended < 0) broken(`${name}: it never saw ${missed.type} of ${missed.position}`);
  auditTimers(name, process, ended >= 0, broken);
}

function auditTimers(name: string, process: readonly Logged[], ended: boolean, broken: Broken): void {
  const placed = process.some(({ type, data }) => type === 'Saw' && data.type === 'Placed');
  const ticks = process.filter(({ type, data }) => type === 'Fired' && data.name === 'tick').map(({ data }) => data.n);
  if (String(ticks) !== String([1, 2, 3].slice(0, ticks.length))) broken(`${name}: it ticked ${ticks}`);
  if (placed && ticks.length < TICKS && !ended) broken(`${name}: it ticked ${ticks.length} times`);
  const deadlines = process.filter(({ type, data }) => type === 'Fired' && data.name === 'deadline');
  if (deadlines.length > 1) broken(`${name}: its deadline came ${deadlines.length} times`);
  const reserved = process.findIndex(({ type, data }) => type === 'Saw' && data.type === 'Reserved');
  if (reserved >= 0 && deadlines.some(({ sequence }) => sequence > reserved)) {
    broken(`${name}: a timer fired after it was cancelled`);
  }
}

function auditOrder(stream: string, events: readonly Logged[], broken: Broken): void {
  const types = events.map(({ type }) => type);
  const [placed, end, ...more] = types;
  if (placed !== 'Placed' || (end !== 'Confirmed' && end !== 'Cancelled') || more.length > 0)
    broken(`${stream} went ${types}`);
}

function auditStock(stream: string, events: readonly Logged[], broken: Broken): void {
  const seen = new Set<number>();
  for (const { type, data } of events) {
    if (type !== 'Reserved') continue;
    if (seen.has(Number(data.order))) broken(`${stream}: order ${data.order} was reserved twice`);
    seen.add(Number(data.order));
  }
}
