// Every queue, cache, message and wait has a limit. docs/configuration.md tells users the same; a test compares the two.

const KIB = 1024;
const MIB = 1024 * KIB;

/** Every limit: its default, and the least and the most that may be configured. */
export const LIMITS = {
  /** Of one gRPC message, in either direction. */
  messageBytes: { fallback: 4 * MIB, min: 64 * KIB, max: 16 * MIB },
  /** Of one command or event. */
  payloadBytes: { fallback: 256 * KIB, min: KIB, max: MIB },
  /** In one command book. */
  pagesPerCommand: { fallback: 100, min: 1, max: 1000 },
  /** In one decision. */
  eventsPerReply: { fallback: 1000, min: 1, max: 10_000 },
  /** Of one decision. */
  eventBytesPerReply: { fallback: MIB, min: KIB, max: 16 * MIB },
  /** Waiting or under way for one aggregate. */
  perRootCommands: { fallback: 1000, min: 1, max: 100_000 },
  /** Under way in all. A fifth is kept for outbox, timers and forwarded work. */
  executingCommands: { fallback: 10_000, min: 10, max: 1_000_000 },
  /** Of the commands under way. */
  executingBytes: { fallback: 64 * MIB, min: MIB, max: 16 * KIB * MIB },
  /** Callers that wait for what follows from their command. */
  waitingCommands: { fallback: 10_000, min: 1, max: 1_000_000 },
  /** Events on their way to subscriptions and streams. */
  deliveryBytes: { fallback: 32 * MIB, min: MIB, max: 16 * KIB * MIB },
  /** Histories kept in memory; 0 keeps none. */
  hotCacheBytes: { fallback: 64 * MIB, min: 0, max: 64 * KIB * MIB },
  /** The same, of one aggregate. */
  hotCacheAggregateBytes: { fallback: 4 * MIB, min: 0, max: KIB * MIB },
  /** Since the last snapshot, before a component is asked for the next one. */
  snapshotAfterPages: { fallback: 100, min: 1, max: 1_000_000 },
  /** In one transaction. */
  groupCommitUnits: { fallback: 500, min: 1, max: 10_000 },
  /** In one transaction; one unit is always taken. */
  groupCommitBytes: { fallback: MIB, min: 16 * KIB, max: 64 * MIB },
  /** Decisions on one command without an explicit sequence, before CONTENTION. */
  conflictTries: { fallback: 10, min: 1, max: 100 },
  /** Before the second try; doubles from there, with jitter. */
  conflictMinMs: { fallback: 10, min: 0, max: 60_000 },
  /** Between two tries, at most. */
  conflictMaxMs: { fallback: 2000, min: 0, max: 60_000 },
  /** For one call to a component; the caller's deadline counts if it is sooner. */
  componentTimeoutMs: { fallback: 30_000, min: 10, max: 3_600_000 },
  /** For which a command waits for another daemon to take it from the outbox; the caller's deadline counts if it is sooner. */
  forwardTimeoutMs: { fallback: 30_000, min: 100, max: 3_600_000 },
  /** At one event by a projector, saga or process manager, before it becomes a dead letter. */
  reactionAttempts: { fallback: 10, min: 1, max: 1000 },
  /** Before the second attempt; doubles from there, with jitter. */
  reactionRetryMinMs: { fallback: 200, min: 1, max: 3_600_000 },
  /** Between two attempts, at most. */
  reactionRetryMaxMs: { fallback: 30_000, min: 1, max: 86_400_000 },
  /** Keys parked with no success between, before a subscription suspends. */
  suspendAfterKeys: { fallback: 100, min: 1, max: 1_000_000 },
  /** Keys parked at all, before a subscription suspends. */
  suspendAfterKeysInAll: { fallback: 1000, min: 1, max: 10_000_000 },
  /** Reactions to reactions, one caused by the other, before the last becomes a dead letter. */
  reactionDepth: { fallback: 1000, min: 1, max: 100_000 },
  /** Between a partition's cursor and how far it has read. */
  partitionWindowEvents: { fallback: 2048, min: 16, max: 65_536 },
  /** The same. */
  partitionWindowBytes: { fallback: 8 * MIB, min: 64 * KIB, max: KIB * MIB },
  /** Requests of one partition in hand at once. */
  partitionConcurrency: { fallback: 64, min: 1, max: 1024 },
  /** For which a daemon that is not heard of keeps its partitions. */
  leaseMs: { fallback: 12_000, min: 500, max: 600_000 },
  /** For which outcomes of commands are kept under their idempotency keys. */
  idempotencyRetentionDays: { fallback: 7, min: 1, max: 3650 },
  /** From SIGTERM until what is under way is given up. */
  drainMs: { fallback: 25_000, min: 0, max: 3_600_000 },
} as const satisfies Record<string, { fallback: number; min: number; max: number }>;

export type Limits = { readonly [name in keyof typeof LIMITS]: number };

/** A limit's key in the file: `messageBytes` is `message_bytes` there. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
