// A way to write `decide` for rules that look at one command at a time.

import { type Aggregate, Rejection } from './aggregate.ts';
import { draftPage } from './fold.ts';
import type { Any } from './gen/google/protobuf/any.ts';

/**
 * When several commands are to be decided together, each sees the state after the events of those before it, and a rejection
 * tells which one was refused. Needs an `evolve` that returns a new state and leaves its argument as it is.
 */
export function oneByOne<S>(
  evolve: Aggregate<S>['evolve'],
  decide: (state: S, command: Any) => readonly Any[],
): Aggregate<S>['decide'] {
  return (before, commands, context) => {
    let state = before;
    const events: Any[] = [];
    commands.forEach((command, page) => {
      for (const event of numbered(page, () => decide(state, command))) {
        state = evolve(state, event, draftPage(context.nextSequence + events.length, event));
        events.push(event);
      }
    });
    return events;
  };
}

function numbered(page: number, decide: () => readonly Any[]): readonly Any[] {
  try {
    return decide();
  } catch (error) {
    if (!(error instanceof Rejection) || page === 0) throw error;
    const { code, message, kind, details } = error;
    throw new Rejection(code, message, { kind, page, cause: error, ...(details && { details }) });
  }
}
