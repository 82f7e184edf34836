// What must be so when everything has settled, whatever went wrong before.

import { ControlDefinition } from '../../gen/daybook/v1/control.ts';
import type { CommandBook } from '../../gen/daybook/v1/types.ts';
import { typeName } from '../../model/book.ts';
import { sameBytes, streamText } from '../../model/stream.ts';
import type { Store } from '../../store.ts';
import { stream } from '../connect.ts';
import type { Answer, World } from './world.ts';

type Broken = (what: string) => void;

/** A decider must say the same of the same history, whatever it keeps, and when it is asked again after a crash. */
export async function checkDecision(world: World, about: string, command: CommandBook, answer: Answer, broken: Broken) {
  if (answer.rejected) return;
  const point =
    answer.first === 0
      ? ({ $case: 'asOfTime', value: { seconds: 0, nanos: 0 } } as const)
      : ({ $case: 'asOfSequence', value: answer.first - 1 } as const);
  const request = { command: { ...command, idempotencyKey: '' }, asOf: { point } };
  const { result } = await world.decideAgain(request);
  if (result?.$case !== 'events') {
    return broken(`${about}: decided at first, and rejected when it is decided again on the same history`);
  }
  const again = result.value.pages.map(({ event }) => event!);
  const names = (events: Answer['events']) => events.map(({ typeUrl }) => typeName(typeUrl)).join(', ') || 'nothing';
  if (names(again) !== names(answer.events)) {
    return broken(
      `${about}: ${names(answer.events)} at first, ${names(again)} when it is decided again on the same history`,
    );
  }
  const differs = again.findIndex(({ value }, i) => !sameBytes(value, answer.events[i]!.value));
  if (differs >= 0) {
    broken(`${about}: ${typeName(again[differs]!.typeUrl)} differs when it is decided again on the same history`);
  }
}

/** What could not be delivered, and why. */
export async function checkDeadLetters(store: Store, broken: Broken): Promise<void> {
  for (const { partition, key, message, reason } of await store.listParked({ state: 'dead', limit: 100 })) {
    broken(`${partition.subscription} cannot handle an event of ${key}: ${reason}: ${message}`);
  }
  for (const { subscription, target, message, reason } of await store.listOutbox({ state: 'dead', limit: 100 })) {
    broken(`what ${subscription} wants of ${streamText(target)} cannot be done: ${reason}: ${message}`);
  }
}

/** Each output of a reaction to an event took effect once. */
export async function checkEffects(store: Store, broken: Broken): Promise<void> {
  const effects = new Map<string, string>();
  for (let after = 0; ; ) {
    const { books, through } = await store.readLog({ after, filter: {}, maxEvents: 1000, maxBytes: 1 << 24 });
    if (through === after) return;
    after = through;
    for (const { cover, pages } of books) {
      const { origin, unitId } = pages[0]!;
      if (origin === undefined || origin.component === '' || origin.sourcePosition === 0) continue;
      const { component, sourcePosition, index } = origin;
      const name = `${component} ${sourcePosition}.${index} ${cover!.domain}`;
      const unit = Buffer.from(unitId).toString('hex');
      const known = effects.get(name);
      if (known !== undefined && known !== unit)
        broken(`${component}: what follows from position ${sourcePosition} happened twice`);
      effects.set(name, unit);
    }
  }
}

/** A projector must make the same rows of the same events, however they came and however often. */
export async function checkProjections(address: string, store: Store, broken: Broken): Promise<void> {
  const definitions = await store.listSubscriptions();
  const projectors = new Set(definitions.filter(({ kind }) => kind === 'projector').map(({ name }) => name));
  for (const projector of projectors) {
    const before = await rowsOf(store, projector);
    for await (const { switched } of stream(address, ControlDefinition, 'rebuild', { projector, start: undefined })) {
      if (switched) break;
    }
    const after = await rowsOf(store, projector);
    for (const key of new Set([...before.keys(), ...after.keys()])) {
      if (before.get(key) !== after.get(key))
        broken(`${projector}: the row ${key} is another one when it is built anew`);
    }
  }
}

async function rowsOf(store: Store, projector: string): Promise<Map<string, string>> {
  const rows = new Map<string, string>();
  const generation = await store.activeGeneration(projector);
  for (let after: string | undefined; ; ) {
    const list = { tenant: '', projector, generation, prefix: '', limit: 500, ...(after !== undefined && { after }) };
    const found = await store.listProjections(list);
    for (const { key, payload } of found) {
      if (payload !== undefined) rows.set(key, `${payload.typeUrl} ${Buffer.from(payload.value).toString('hex')}`);
    }
    if (found.length < 500) return rows;
    after = found.at(-1)!.key;
  }
}
