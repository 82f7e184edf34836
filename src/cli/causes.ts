// What caused what: books and rejections of one conversation become a tree. Pure.

import type { RecordedRejection } from '../gen/daybook/v1/query.ts';
import type { Cover, EventBook, EventPage, Origin } from '../model/book.ts';
import { hex } from '../model/stream.ts';
import { toMicros } from '../model/time.ts';

/** One decision: what one unit wrote, or why it wrote nothing. */
export interface Decision {
  /** The aggregate that was asked; for a unit that wrote to several, the first. */
  cover: Cover;
  /** Full type names; none for what a component or another system recorded without a command. */
  commands: readonly string[];
  /** Microseconds. */
  time: number;
  position: number;
  origin: Origin | undefined;
  /** Its cause is an event that is not among these. */
  orphan: boolean;
  rejection: RecordedRejection['rejection'];
  events: Happening[];
}

export interface Happening {
  cover: Cover;
  page: EventPage;
  /** What it led to. */
  effects: Decision[];
}

/** Decisions without a cause among these, in the order of the log; the others below the events that caused them. */
export function causalTree(books: readonly EventBook[], rejections: readonly RecordedRejection[]): Decision[] {
  const decisions = [...unitsOf(books), ...rejections.map(rejected)].sort(inLogOrder);
  const happenings = new Map<string, Happening>();
  for (const { events } of decisions) {
    for (const event of events) happenings.set(eventKey(event.cover, event.page.sequence), event);
  }
  const roots: Decision[] = [];
  for (const decision of decisions) {
    const { origin } = decision;
    const cause = origin?.source && happenings.get(eventKey(origin.source, origin.sourceSequence));
    if (cause !== undefined) cause.effects.push(decision);
    else {
      decision.orphan = origin?.source !== undefined;
      roots.push(decision);
    }
  }
  for (const { effects } of happenings.values()) effects.sort(inOrderOfOutputs);
  return [...roots, ...uprooted(roots, decisions)].sort(inLogOrder);
}

function unitsOf(books: readonly EventBook[]): Decision[] {
  const units = new Map<string, Decision>();
  for (const book of books) {
    const cover = book.cover!;
    for (const page of book.pages) {
      const unit = hex(page.unitId);
      let decision = units.get(unit);
      if (decision === undefined) {
        decision = {
          cover,
          commands: page.origin?.commands ?? [],
          time: page.createdAt === undefined ? 0 : toMicros(page.createdAt),
          position: page.position,
          origin: page.origin,
          orphan: false,
          rejection: undefined,
          events: [],
        };
        units.set(unit, decision);
      }
      decision.events.push({ cover, page, effects: [] });
    }
  }
  return [...units.values()];
}

function rejected(recorded: RecordedRejection): Decision {
  return {
    cover: recorded.cover!,
    commands: recorded.commands,
    time: recorded.decidedAt === undefined ? 0 : toMicros(recorded.decidedAt),
    // Decided when the log ended there, so after what is at that position.
    position: recorded.position,
    origin: recorded.origin,
    orphan: false,
    rejection: recorded.rejection ?? { kind: 0, code: '', message: '', details: undefined, page: 0 },
    events: [],
  };
}

/** Origins that lead in a circle, which nothing that Daybook wrote does: cut, so that nothing is left out. */
function uprooted(roots: readonly Decision[], decisions: readonly Decision[]): Decision[] {
  const seen = new Set<Decision>();
  const visit = (from: Decision) => {
    const open = [from];
    for (let decision = open.pop(); decision !== undefined; decision = open.pop()) {
      seen.add(decision);
      for (const event of decision.events) {
        event.effects = event.effects.filter((effect) => !seen.has(effect));
        open.push(...event.effects);
      }
    }
  };
  for (const root of roots) visit(root);
  const more: Decision[] = [];
  for (const decision of decisions) {
    if (seen.has(decision)) continue;
    decision.orphan = true;
    more.push(decision);
    visit(decision);
  }
  return more;
}

function eventKey(cover: Cover, sequence: number): string {
  return `${cover.tenant}/${cover.domain}/${hex(cover.root!.value)}#${sequence}`;
}

function inLogOrder(a: Decision, b: Decision): number {
  return (
    a.position - b.position || Number(a.rejection !== undefined) - Number(b.rejection !== undefined) || a.time - b.time
  );
}

/** The outputs of one component in its order, those of several components as they came. */
function inOrderOfOutputs(a: Decision, b: Decision): number {
  if (a.origin!.component === b.origin!.component && a.origin!.index !== b.origin!.index) {
    return a.origin!.index - b.origin!.index;
  }
  return inLogOrder(a, b);
}
