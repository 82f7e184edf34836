// What becomes of one row of the outbox: the command or the fact that it holds, and the unit in which it goes. On whichever daemon of the
// log: what keeps it from happening twice is the row's version, not who holds its partition.

import type { Bodies } from '../coordinators/bodies.ts';
import type { BusinessCoordinator } from '../coordinators/business.ts';
import type { Caller } from '../coordinators/caller.ts';
import type { Claim } from '../coordinators/claim.ts';
import type { FactRecorder } from '../coordinators/facts.ts';
import { emptyWork, laneOf } from '../coordinators/reaction.ts';
import { asDaybookError, type DaybookError } from '../errors.ts';
import { type CommandBook, NO_ORIGIN, type Rejection } from '../model/book.ts';
import { streamText } from '../model/stream.ts';
import type { OutboxKey, OutboxRow, Unit } from '../store.ts';
import type { DeliveryParts } from './parts.ts';
import { commitStubbornly, Fenced } from './units.ts';

export interface OutputParts extends DeliveryParts {
  business: Pick<BusinessCoordinator, 'execute'>;
  facts: Pick<FactRecorder, 'record'>;
  bodies: Bodies;
}

/** The reactor whose output it is. */
export interface OutputSource {
  readonly name: string;
  readonly kind: 'saga' | 'process_manager';
  /** Of the process manager's own streams. */
  readonly processDomain: string;
}

/** Resolves when the row has gone, or is dead. Rejects with ClaimLost when it is not as it was, and with why it could not be done. */
export async function dispatchOutput(
  parts: OutputParts,
  source: OutputSource,
  row: OutboxRow,
  caller: Caller,
): Promise<void> {
  const { business, facts, bodies } = parts;
  if (row.kind === 'fact') {
    await facts.record(bodies.decodeEvents(row.body), false, caller, claimOf(parts, source, row, undefined));
    return;
  }
  const command = bodies.decodeCommand(row.body);
  try {
    await business.execute(command, caller, claimOf(parts, source, row, command));
  } catch (error) {
    // Stored, with the notification; or, for a notification, as a dead letter.
    if (asDaybookError(error).reason !== 'REJECTED') throw error;
    if (row.kind === 'notification') tellDead(parts, row, asDaybookError(error));
  }
}

function claimOf(parts: OutputParts, source: OutputSource, row: OutboxRow, command: CommandBook | undefined): Claim {
  const { incarnation, subscription, generation, position, index, target } = row;
  const place = [incarnation, subscription, generation, position, index];
  // A notification that was refused stays as a dead letter, and may be refused again when it is replayed.
  const key = (row.kind === 'notification' ? [...place, row.version] : place).join('/');
  return {
    key: { tenant: target.tenant, kind: 'reaction', key },
    work: (rejection) => {
      const work = emptyWork();
      if (rejection !== undefined && row.kind === 'notification') {
        work.outboxChanged.push({ key: row, version: row.version, row: refused(row, rejection) });
        return work;
      }
      work.outboxChanged.push({ key: row, version: row.version, row: undefined });
      const notification = rejection && command && notificationOf(parts, source, row, command, rejection);
      if (notification !== undefined) work.outboxAdded.push(notification);
      return work;
    },
  };
}

/** Tells whoever caused the command that it was rejected: the aggregate whose event a saga answered, or the process. */
function notificationOf(
  { bodies, storeClock }: OutputParts,
  { name: component, kind, processDomain }: OutputSource,
  row: OutboxRow,
  command: CommandBook,
  rejection: Rejection,
): OutboxRow | undefined {
  const { source, sourceSequence = 0, sourcePosition = 0 } = command.origin ?? {};
  const own = kind === 'process_manager';
  if (source === undefined && !own) return undefined;
  const { tenant, correlationId } = command.cover!;
  const target = own
    ? { tenant, domain: processDomain, root: row.target.root }
    : { tenant: source!.tenant, domain: source!.domain, root: source!.root!.value };
  const notification = { command, rejection, component, source, sourceSequence, sourcePosition };
  const book: CommandBook = {
    cover: { root: { value: target.root }, domain: target.domain, tenant, correlationId },
    pages: [{ command: bodies.packNotification(notification) }],
    origin: { ...NO_ORIGIN, ...command.origin, depth: (command.origin?.depth ?? 0) + 1 },
    idempotencyKey: '',
    metadata: command.metadata,
    workId: '',
  };
  const now = storeClock();
  // Tenants and correlation ids may hold whatever parts them from the target.
  const key = row.lane.slice(0, -streamText(row.target).length - 1);
  return {
    ...row,
    index: row.index + 1,
    lane: laneOf(key, target),
    state: 'ready',
    target,
    kind: 'notification',
    body: bodies.encodeCommand(book),
    attempts: 0,
    dueAtMicros: now,
    createdAtMicros: now,
    reason: '',
    message: '',
    version: 0,
  };
}

/** A notification that was refused: nothing loops. */
function refused(row: OutboxRow, { code, message }: Rejection): OutboxRow {
  const said = `the aggregate refused to be told: ${message || code || 'no reason given'}`;
  return { ...row, state: 'dead', attempts: row.attempts + 1, reason: 'REJECTED', message: said.slice(0, 1000) };
}

/** Changes a row, or removes it; as it was before, or not at all: somebody may have replayed, discarded or withdrawn it. False: it was not. */
export async function writeRow(
  parts: Pick<DeliveryParts, 'committer' | 'runtime'>,
  key: OutboxKey & { version: number },
  row: OutboxRow | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  const work = emptyWork();
  work.outboxChanged.push({ key, version: key.version, row });
  const nothing = { appends: [], expectations: [], snapshots: [], outcomes: [] };
  const unit: Unit = { unitId: parts.runtime.uuid(), ...nothing, work };
  try {
    await commitStubbornly(parts, unit, signal);
    return true;
  } catch (error) {
    if (error instanceof Fenced) return false;
    throw error;
  }
}

export function tellDead({ log }: Pick<DeliveryParts, 'log'>, row: OutboxRow, error: DaybookError): void {
  log.error({ ...aboutRow(row), reason: error.reason, err: error }, 'an output is a dead letter');
}

/** For the log. */
export function aboutRow(row: OutboxRow): object {
  const { subscription, generation, position, index, kind, target, correlationId } = row;
  return { subscription, generation, position, index, kind, target: target.domain, correlation_id: correlationId };
}
