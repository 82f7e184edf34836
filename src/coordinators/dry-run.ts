// What would happen? The domain is asked as for a command; nothing is stored, nothing is streamed, nobody is told.

import { DaybookError } from '../errors.ts';
import type { CommandBook, EventBook, Rejection } from '../model/book.ts';
import { checkRejection, type DecisionLimits, stampDecision } from '../model/decision.ts';
import { streamText } from '../model/stream.ts';
import { toTimestamp } from '../model/time.ts';
import { type CommandLimits, checkCommand, commandBytes } from '../model/validation.ts';
import type { Runtime } from '../runtime.ts';
import type { Admission } from './admission.ts';
import { bookOf } from './answers.ts';
import type { Asking, Hosts } from './asking.ts';
import type { Caller } from './caller.ts';
import type { Histories } from './histories.ts';
import { nextSequenceAt, type PointInTime } from './past.ts';
import type { UpcastingReads } from './upcasting.ts';

export interface DryRunParts {
  admission: Admission;
  hosts: Hosts;
  histories: Histories;
  asking: Asking;
  reads: UpcastingReads;
  runtime: Runtime;
  limits: CommandLimits & DecisionLimits;
}

export type DryRunAnswer = { nextSequence: number } & (
  | { kind: 'events'; events: EventBook }
  | { kind: 'rejection'; rejection: Rejection }
);

export class DryRunner {
  readonly #parts: DryRunParts;

  constructor(parts: DryRunParts) {
    this.#parts = parts;
  }

  /** `asOf` absent: against the history of now. An explicit sequence is compared as for a command. */
  async run(command: CommandBook, asOf: PointInTime | undefined, caller: Caller): Promise<DryRunAnswer> {
    const { admission, asking, hosts, histories, limits, reads, runtime } = this.#parts;
    const stream = checkCommand(command, limits);
    const text = streamText(stream);
    const component = await hosts.find(stream.domain);
    const parent = asking.enter(command.workId, text, caller);
    try {
      const reserved = parent !== undefined;
      const job = { domain: stream.domain, bytes: commandBytes(command), reserved, ...caller };
      return await admission.run(text, job, async () => {
        const nextSequence = await nextSequenceAt(reads, stream, asOf);
        const explicit = command.pages[0]!.sequence;
        if (explicit !== undefined && explicit !== nextSequence) {
          throw new DaybookError(
            'SEQUENCE_CONFLICT',
            `${text}: the command expects next sequence ${explicit}, it is ${nextSequence}`,
            { metadata: { expected: explicit, actual: nextSequence } },
          );
        }
        const history = histories.past(stream, nextSequence);
        const question = { stream, text, component, command, history, snapshotNext: 0, parent, caller, dryRun: true };
        const decision = await asking.decide(question);
        if (decision.kind === 'rejection') {
          checkRejection(decision.rejection, stream, limits);
          return { kind: 'rejection', rejection: decision.rejection, nextSequence };
        }
        const createdAt = toTimestamp(runtime.nowMicros());
        const stamp = { stream, command, nextSequence, createdAt, unitId: new Uint8Array() };
        const { pages } = stampDecision(decision.book, stamp, limits);
        const { correlationId } = command.cover!;
        return {
          kind: 'events',
          events: bookOf(stream, correlationId, pages, nextSequence + pages.length),
          nextSequence,
        };
      });
    } finally {
      asking.leave(parent, text);
    }
  }
}
