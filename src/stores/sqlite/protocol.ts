// What the daemon's thread and a worker say to each other.

import type { Reason } from '../../errors.ts';
import type { DeliveryRead } from './delivery/reads.ts';
import type { DeliveryWrite } from './delivery/writes.ts';
import type { Tape } from './tape.ts';

export interface WorkerSetup {
  path: string;
  role: 'writer' | 'reader' | 'folder';
}

export type Operation =
  /** First of all, once. */
  | 'open'
  | 'commit'
  | 'expireOutcomes'
  | 'forgetInstances'
  | 'head'
  | 'openStream'
  | 'readStream'
  | 'readSnapshot'
  | 'readLog'
  | 'positionBefore'
  | 'listStreams'
  | 'listSnapshots'
  | 'readOutcome'
  | 'listOutcomes'
  | DeliveryRead
  | DeliveryWrite
  /** Last of all: the worker ends. */
  | 'close';

export interface Request {
  id: number;
  operation: Operation;
  tape: Tape;
}

export type Reply = { id: number; tape: Tape } | { id: number; fault: Fault };

/** An error on its way to the daemon's thread. */
export interface Fault {
  message: string;
  stack: string | undefined;
  /** What SQLite said, an extended result code. */
  sqliteCode: number | undefined;
  /** What we said ourselves. */
  reason: Reason | undefined;
  /** It was COMMIT that failed. */
  committing: boolean;
}
