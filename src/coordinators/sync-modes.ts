// Commands whose callers wait. The modes run nothing differently: the command is executed as any other, then its caller waits.

import type { CommandBook, CommandResponse } from '../model/book.ts';
import type { Runtime } from '../runtime.ts';
import type { Asking } from './asking.ts';
import type { BusinessCoordinator } from './business.ts';
import type { Caller } from './caller.ts';
import type { WaitingMode } from './following.ts';
import type { Waiting } from './waiting.ts';

export interface SyncModesParts {
  business: Pick<BusinessCoordinator, 'execute'>;
  waiting: Waiting;
  asking: Asking;
  runtime: Runtime;
}

export const DEFAULT_WAIT_MS = 10_000;
/** The answer is on its way before the call's own deadline. */
const ANSWER_MS = 50;

export class SyncModes {
  readonly #parts: SyncModesParts;

  constructor(parts: SyncModesParts) {
    this.#parts = parts;
  }

  /** As `execute`, then as `Waiting.follow`; `waitMs` counts from the commit. REENTRANT from inside a decision, OVERLOADED when too many wait. */
  async execute(command: CommandBook, mode: WaitingMode, waitMs: number, caller: Caller): Promise<CommandResponse> {
    const { business, waiting, asking, runtime } = this.#parts;
    asking.checkMayWait(command.workId);
    const place = waiting.enter();
    try {
      const response = await business.execute(command, caller);
      const now = runtime.monotonicMs();
      const leftMs = caller.deadlineMs - now;
      const deadlineMs = Math.min(now + waitMs, caller.deadlineMs - Math.min(ANSWER_MS, leftMs / 10));
      return await waiting.follow(response, mode, deadlineMs, caller.signal);
    } finally {
      place.leave();
    }
  }
}
