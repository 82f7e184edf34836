// Other daemons of this log, as far as this one can call them. Coordinators do not know the wire; src/grpc/peer-channels.ts does.

import type { CommandBook, CommandResponse, EventBook } from '../model/book.ts';
import type { Caller } from './caller.ts';
import type { DryRunAnswer } from './dry-run.ts';
import type { PointInTime } from './past.ts';
import type { RemoteWork } from './work-in-hand.ts';

/** A command, or facts, of a domain that another daemon hosts. Structurally the wire's message; see proto/daybook/v1/peers.proto. */
export interface ForwardedWork {
  work:
    | { $case: 'command'; value: CommandBook }
    | { $case: 'facts'; value: { facts: EventBook | undefined; askAggregate: boolean } }
    | undefined;
  /** Daemons that it has come through. */
  hops: number;
  /** From inside which it comes, nearest first. */
  ancestors: RemoteWork[];
}

/**
 * Rejects with the other daemon's own DaybookError, with PeerUnreachable, with PeerLost, or with the caller's reason when nobody waits
 * any more.
 */
export interface Peers {
  /** Where others reach this daemon; empty: nowhere. */
  readonly address: string;
  execute(address: string, work: ForwardedWork, caller: Caller): Promise<CommandResponse>;
  dryRun(address: string, command: CommandBook, asOf: PointInTime | undefined, caller: Caller): Promise<DryRunAnswer>;
}

/** It never arrived there. */
export class PeerUnreachable extends Error {
  constructor(address: string, why: string) {
    super(`the daemon at ${address} cannot be reached: ${why}`);
    this.name = 'PeerUnreachable';
  }
}

/** The other daemon went away with it in hand: whether it was done is not known. */
export class PeerLost extends Error {
  constructor(address: string, why: string) {
    super(`the daemon at ${address} went away with it in hand: ${why}`);
    this.name = 'PeerLost';
  }
}

/** For a daemon that calls no other. */
export const NO_PEERS: Peers = {
  address: '',
  execute: (address) => Promise.reject(new PeerUnreachable(address, 'this daemon calls no others')),
  dryRun: (address) => Promise.reject(new PeerUnreachable(address, 'this daemon calls no others')),
};
