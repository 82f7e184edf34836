// What you write to send a command, and the CommandBook that it becomes.

import type { CommandBook, Cover } from './gen/daybook/v1/types.ts';
import type { Any } from './gen/google/protobuf/any.ts';
import { uuidText, uuidv7 } from './ids.ts';

export interface Command {
  /** The kind of aggregate, for example `order`. */
  domain: string;
  /** The aggregate: 16 bytes. `rootOf('order 1001')` makes them from a name of your own. */
  root: Uint8Array;
  /** From `pack` or `packJson`. Several are decided together: all of them or none. */
  payload: Any | readonly Any[];
  /** The aggregate's next sequence as you last saw it: refused with SequenceConflict when the history moved on since. */
  sequence?: number;
  /** Makes a repeat safe. One is made for each call when absent, so you need your own only to repeat after a restart. */
  idempotencyKey?: string;
  /** What this is part of. Daybook makes one when absent; everything that the command causes inherits it. */
  correlationId?: string;
  tenant?: string;
  /** Copied to the metadata of the resulting events. */
  metadata?: Record<string, string>;
}

/** What commands inherit from the work in which they are sent. */
export interface Surroundings {
  workId?: string;
  correlationId?: string;
  tenant?: string;
}

export interface CoverParts {
  domain?: string;
  root?: Uint8Array | undefined;
  correlationId?: string;
  tenant?: string;
}

export function cover(parts: CoverParts): Cover {
  return {
    root: parts.root && { value: parts.root },
    domain: parts.domain ?? '',
    correlationId: parts.correlationId ?? '',
    tenant: parts.tenant ?? '',
  };
}

export function commandBook(command: Command, within: Surroundings = {}): CommandBook {
  const payloads: readonly Any[] = Array.isArray(command.payload) ? command.payload : [command.payload];
  return {
    cover: cover({ ...within, ...command }),
    pages: payloads.map((payload, i) => ({ sequence: i === 0 ? command.sequence : undefined, command: payload })),
    origin: undefined,
    idempotencyKey: command.idempotencyKey ?? uuidText(uuidv7()),
    metadata: command.metadata ?? {},
    workId: within.workId ?? '',
  };
}
