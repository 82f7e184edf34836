// What a component says in Hello of its projectors, sagas and process managers, checked and with every default filled in.

import type { ReactorDeclaration, StartPoint } from '../component.ts';
import { type DaybookError, invalid } from '../errors.ts';
import type {
  Credits,
  EventFilter,
  Hello,
  ProcessManagerHosting,
  ProjectorHosting,
  SagaHosting,
  SubscriptionStart,
} from '../gen/daybook/v1/component.ts';
import type { ReactorKind } from '../model/reaction.ts';
import { FILTER_VERSION, MAX_PAGES, PARTITIONS } from '../model/subscription.ts';
import { toMicros } from '../model/time.ts';
import { DOMAIN, TYPE_NAME } from '../model/validation.ts';

export interface Declared {
  declaration: ReactorDeclaration;
  credits: Credits | undefined;
}

/** Under which they stand in Hello, for `field`. */
export const HELLO_FIELDS: { readonly [kind in ReactorKind]: string } = {
  projector: 'hello.projectors',
  saga: 'hello.sagas',
  process_manager: 'hello.process_managers',
};

/** Of one filter. */
const FILTER_ENTRIES_MAX = 1000;

type Hosting = ProjectorHosting | SagaHosting | ProcessManagerHosting;

/** Throws INVALID_ARGUMENT. */
export function declarationsOf(hello: Hello): Declared[] {
  const declared = [
    ...hello.projectors.map((hosting) => projector(hosting, HELLO_FIELDS.projector)),
    ...hello.sagas.map((hosting) => saga(hosting, HELLO_FIELDS.saga)),
    ...hello.processManagers.map((hosting) => processManager(hosting, HELLO_FIELDS.process_manager)),
  ];
  const kinds = new Map<string, ReactorKind>();
  for (const { declaration } of declared) {
    const { kind, name } = declaration;
    const other = kinds.get(name);
    if (other === kind)
      throw invalid(`${HELLO_FIELDS[kind]}.name`, `${HELLO_FIELDS[kind]}.name: ${name} is there twice`);
    if (other !== undefined) throw otherKind(kind, name, other);
    kinds.set(name, kind);
  }
  return declared;
}

/** A name is a subscription's, whatever it belongs to. */
export function otherKind(kind: ReactorKind, name: string, other: ReactorKind): DaybookError {
  const field = `${HELLO_FIELDS[kind]}.name`;
  return invalid(field, `${field}: ${name} is the name of a ${spoken(other)}; give the ${spoken(kind)} another name`);
}

/** For sentences. */
export function spoken(kind: ReactorKind): string {
  return kind.replace('_', ' ');
}

function projector(hosting: ProjectorHosting, field: string): Declared {
  const { ordered, sync = true, credits } = hosting;
  return {
    credits,
    declaration: {
      ...common(hosting, field),
      kind: 'projector',
      generation: hosting.generation || 1,
      // Log order is one order.
      partitions: ordered ? 1 : partitionsOf(hosting, field),
      sync,
      ordered,
      maxPages: whole(hosting.maxPages || MAX_PAGES.fallback, MAX_PAGES, `${field}.max_pages`),
      domain: '',
      snapshotSchemaVersion: 0,
    },
  };
}

function saga(hosting: SagaHosting, field: string): Declared {
  return {
    credits: hosting.credits,
    declaration: {
      ...common(hosting, field),
      ...reacting(hosting, field),
      kind: 'saga',
      domain: '',
      snapshotSchemaVersion: 0,
    },
  };
}

function processManager(hosting: ProcessManagerHosting, field: string): Declared {
  const { name, domain = name, snapshotSchemaVersion, credits } = { ...hosting, domain: hosting.domain || undefined };
  checkName(domain, `${field}.domain`);
  return {
    credits,
    declaration: {
      ...common(hosting, field),
      ...reacting(hosting, field),
      kind: 'process_manager',
      domain,
      snapshotSchemaVersion,
    },
  };
}

function common(hosting: Hosting, field: string) {
  checkName(hosting.name, `${field}.name`);
  return {
    name: hosting.name,
    ...filterOf(hosting.filter, `${field}.filter`),
    version: whole(hosting.version || 1, FILTER_VERSION, `${field}.version`),
    start: startOf(hosting.start, `${field}.start`),
  };
}

/** What sagas and process managers have in common. */
function reacting(hosting: SagaHosting | ProcessManagerHosting, field: string) {
  if (hosting.generation > 1) {
    throw invalid(
      `${field}.generation`,
      `${field}.generation: expected 1, found ${hosting.generation}: what ${hosting.name} did is never done again; give it another name to begin anew`,
    );
  }
  return { generation: 1, partitions: partitionsOf(hosting, field), sync: false, ordered: false, maxPages: 1 };
}

function partitionsOf(hosting: Hosting, field: string): number {
  return whole(hosting.partitions || PARTITIONS.fallback, PARTITIONS, `${field}.partitions`);
}

function filterOf(filter: EventFilter | undefined, field: string): { domains: string[]; types: string[] } {
  const { domains, types } = filter ?? { domains: [], types: [] };
  return {
    domains: entries(domains, DOMAIN, `a domain as ${DOMAIN.source}`, `${field}.domains`),
    types: entries(
      types,
      TYPE_NAME,
      "a full event type name such as shop.v1.OrderPlaced, without '/'",
      `${field}.types`,
    ),
  };
}

/** An entry that is none is refused: passed over, it could leave an empty list, which means everything. */
function entries(given: readonly string[], accepted: RegExp, expected: string, field: string): string[] {
  if (given.length > FILTER_ENTRIES_MAX) {
    throw invalid(field, `${field}: expected at most ${FILTER_ENTRIES_MAX} entries, found ${given.length}`);
  }
  for (const entry of given) {
    if (!accepted.test(entry)) throw invalid(field, `${field}: expected ${expected}, found ${quoted(entry)}`);
  }
  return [...new Set(given)];
}

function startOf(given: SubscriptionStart | undefined, field: string): StartPoint {
  const start = given?.start;
  switch (start?.$case) {
    case undefined:
      return { kind: 'beginning' };
    case 'afterPosition':
      return { kind: 'after', position: start.value };
    case 'fromTime': {
      const { seconds, nanos } = start.value;
      if (!(Math.abs(seconds) < 8e9 && nanos >= 0 && nanos < 1e9)) {
        throw invalid(`${field}.from_time`, `${field}.from_time: not a time between 1717 and 2223`);
      }
      return { kind: 'time', timeMicros: toMicros(start.value) };
    }
    default: {
      const { $case: kind, value } = start!;
      if (value) return { kind };
      throw invalid(`${field}.${kind}`, `${field}.${kind}: expected true, or another start, found false`);
    }
  }
}

function whole(value: number, { min, max }: { min: number; max: number }, field: string): number {
  if (value >= min && value <= max) return value;
  throw invalid(field, `${field}: expected ${min} to ${max}, found ${value}`);
}

function checkName(name: string, field: string): void {
  if (!DOMAIN.test(name)) throw invalid(field, `${field}: expected ${DOMAIN.source}, found ${quoted(name)}`);
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
