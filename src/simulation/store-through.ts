// A store whose every call goes through the hands of a simulation, which may hold it up, fail it, or end the daemon around it.

import type { Store } from '../store.ts';

export type StoreCall = Exclude<keyof Store, 'description' | 'close' | 'news'>;

/** `run` makes the call, at most once; its effect is there when it returns. */
export type Through = (call: StoreCall, args: readonly unknown[], run: () => Promise<unknown>) => Promise<unknown>;

const CALLS: Record<StoreCall, true> = {
  commit: true,
  head: true,
  openStream: true,
  readStream: true,
  readSnapshot: true,
  readLog: true,
  positionBefore: true,
  listStreams: true,
  listSnapshots: true,
  readOutcome: true,
  listOutcomes: true,
  expireOutcomes: true,
  now: true,
  heartbeat: true,
  leave: true,
  declare: true,
  listSubscriptions: true,
  setPaused: true,
  removeGeneration: true,
  listCursors: true,
  acquire: true,
  release: true,
  listDone: true,
  readParked: true,
  listParked: true,
  countParked: true,
  dueOutbox: true,
  nextOutboxDue: true,
  dueForwarded: true,
  nextDue: true,
  readOutbox: true,
  listOutbox: true,
  dueTimers: true,
  nextTimerDue: true,
  readTimer: true,
  readProjection: true,
  hasProjections: true,
  listProjections: true,
  projectionsOf: true,
  activeGeneration: true,
  activeGenerations: true,
  switchGeneration: true,
};

/** Calls that change something. */
export const WRITES: ReadonlySet<StoreCall> = new Set<StoreCall>([
  'commit',
  'expireOutcomes',
  'heartbeat',
  'leave',
  'declare',
  'setPaused',
  'removeGeneration',
  'acquire',
  'release',
  'switchGeneration',
]);

export function storeThrough(store: Store, through: Through): Store {
  const calls = Object.keys(CALLS).map((name) => {
    const method = store[name as StoreCall] as (...args: unknown[]) => Promise<unknown>;
    const call = (...args: unknown[]) =>
      through(name as StoreCall, args, () => Reflect.apply(method, store, args) as Promise<unknown>);
    return [name, call];
  });
  return { ...Object.fromEntries(calls), description: store.description, close: () => store.close() };
}
