// What one seed does, as data: who sends which commands when, and what goes wrong. Everything else is drawn from the seed while it runs,
// so a plan with fewer commands or faults is a plan as well; that is how a failure is made small.

import type { Limits } from '../../src/config.ts';
import type { Reading } from '../../src/delivery/reading.ts';
import { pick, type Random, stream, whole } from '../../src/simulation/random.ts';

export type Workload = 'bank' | 'orders' | 'hot' | 'rebuild';

export interface PlannedCommand {
  id: number;
  atMs: number;
  daemon: number;
  type: string;
  /** Number of the aggregate. */
  root: number;
  /** Number of another one: of a transfer's target, or of an order's item. */
  other: number;
  amount: number;
  /** Has an idempotency key, and is repeated with it until it is answered. */
  keyed: boolean;
  mode: 'none' | 'simple' | 'cascade';
  /** Says which sequence it expects. */
  explicit: boolean;
  /** Sent to two daemons at once. */
  twice: boolean;
  /** Asked once more, so long after it was answered; 0: not. */
  againMs: number;
  /** So many of the first answers are lost. */
  lost: number;
}

export type ComponentFault = 'error' | 'timeout' | 'lost' | 'wrong' | 'overloaded' | 'slow';

/** `call` counts those of one daemon, over all its lives, from 1; of commits alone when `commits`. */
export type Fault =
  | { kind: 'store'; daemon: number; call: number; commits: boolean; when: 'before' | 'after'; times: number }
  | { kind: 'slow-store'; daemon: number; call: number; commits: boolean; forMs: number }
  | { kind: 'outage'; atMs: number; forMs: number }
  | { kind: 'kill'; daemon: number; call: number; commits: boolean; when: 'before' | 'after'; downMs: number }
  | { kind: 'kill-at'; daemon: number; atMs: number; downMs: number }
  | { kind: 'stop'; daemon: number; atMs: number; downMs: number }
  | { kind: 'pause'; daemon: number; call: number; commits: boolean; forMs: number }
  | { kind: 'pause-at'; daemon: number; atMs: number; forMs: number }
  | { kind: 'clock'; daemon: number; atMs: number; jumpMs: number }
  /** `call` counts all calls to the component. */
  | { kind: 'component'; name: string; call: number; times: number; what: ComponentFault }
  /** The n-th event that the component ever sees. */
  | { kind: 'poison'; name: string; event: number; times: number; what: ComponentFault }
  | { kind: 'away'; daemon: number; name: string; atMs: number; forMs: number };

export interface Plan {
  seed: number;
  workload: Workload;
  daemons: number;
  /** Of each daemon's wall clock. */
  skewMs: number[];
  partitions: number;
  limits: Partial<Limits>;
  /** Sizes of reads, where they are so small that readers of a short log fall far behind. */
  reading?: Partial<Reading>;
  /** Hosts of aggregates keep states. */
  keepsState: boolean;
  /** How the saga writes its journal. */
  journal: 'command' | 'fact';
  /** The second generation of the projector comes then; 0: never. */
  rebuildAtMs: number;
  /** And one more, perhaps before the second is what readers get. */
  rebuildAgain?: { atMs: number; by: 'component' | 'operator'; partitions: number };
  followers: number;
  commands: PlannedCommand[];
  faults: Fault[];
}

export const SAGA = 'transfers';
export const PROJECTOR = 'balances';
export const PROCESS_MANAGER = 'fulfilment';
export const LEASE_MS = 4000;
/** Commands come until then. */
const BUSY_MS = 5000;

export function planOf(seed: number): Plan {
  const random = stream(seed, 0);
  const workload = pick<Workload>(random, ['bank', 'bank', 'orders', 'orders', 'hot', 'rebuild']);
  const daemons = pick(random, [1, 2, 2, 2, 3]);
  const plan: Plan = {
    seed,
    workload,
    daemons,
    skewMs: Array.from({ length: daemons }, () => (random() < 0.5 ? 0 : whole(random, -3000, 3000))),
    partitions: pick(random, [1, 2, 2, 3]),
    limits: limitsOf(random),
    keepsState: random() < 0.5,
    journal: random() < 0.7 ? 'command' : 'fact',
    rebuildAtMs: workload === 'rebuild' ? whole(random, 500, 3500) : 0,
    followers: random() < 0.5 ? 1 : 0,
    commands: [],
    faults: [],
  };
  plan.commands = workload === 'orders' ? ordersOf(random, plan) : bankOf(random, plan);
  for (const [id, command] of plan.commands.entries()) command.id = id;
  plan.faults = faultsOf(random, plan);
  readInPieces(stream(seed, 3), plan);
  rebuildAgain(stream(seed, 4), plan);
  return plan;
}

/** Of two seeds in three. From a stream of its own: what else a seed does is as it was before this was drawn. */
function readInPieces(random: Random, plan: Plan): void {
  if (random() < 1 / 3) return;
  plan.limits = { ...plan.limits, partitionWindowEvents: pick(random, [4, 6, 12]) };
  plan.reading = {
    readEvents: whole(random, 2, 8),
    keyEvents: whole(random, 1, 4),
    recentBooks: pick(random, [0, 2, 8, 1024]),
    followerBytes: pick(random, [300, 1000, 1 << 20]),
    nearEvents: pick(random, [0, 1, 3]),
    // In this order, so that a seed is what it was.
    slice: { max: pick(random, [8, 16]), min: pick(random, [1, 4]) },
    closeEvents: pick(random, [0, 2, 10]),
    fewRequests: pick(random, [1, 2, 32]),
  };
}

/** In every second rebuild, perhaps with other partitions; an operator keeps them. */
function rebuildAgain(random: Random, plan: Plan): void {
  if (plan.rebuildAtMs === 0 || random() < 0.5) return;
  const atMs = plan.rebuildAtMs + whole(random, 0, 3000);
  const by = pick(random, ['component', 'component', 'operator'] as const);
  plan.rebuildAgain = { atMs, by, partitions: pick(random, [plan.partitions, 2, 3, 4]) };
}

function limitsOf(random: Random): Partial<Limits> {
  return {
    leaseMs: LEASE_MS,
    reactionRetryMinMs: pick(random, [20, 200]),
    reactionRetryMaxMs: pick(random, [200, 2000]),
    reactionAttempts: pick(random, [2, 4, 10]),
    suspendAfterKeys: pick(random, [2, 100, 100]),
    suspendAfterKeysInAll: pick(random, [3, 1000, 1000]),
    partitionWindowEvents: pick(random, [16, 1024]),
    partitionConcurrency: pick(random, [1, 4, 64]),
    snapshotAfterPages: pick(random, [1, 3, 100]),
    hotCacheBytes: pick(random, [0, 8 * 1024, 1 << 20]),
    hotCacheAggregateBytes: pick(random, [3 * 1024, 1 << 20]),
    groupCommitUnits: pick(random, [1, 4, 500]),
    conflictMaxMs: pick(random, [20, 500]),
    componentTimeoutMs: pick(random, [500, 3000]),
  };
}

function commandOf(random: Random, plan: Plan, part: Partial<PlannedCommand>): PlannedCommand {
  const keyed = random() < 0.8;
  return {
    id: 0,
    atMs: Math.floor(random() * BUSY_MS),
    daemon: whole(random, 0, plan.daemons - 1),
    type: '',
    root: 0,
    other: 0,
    amount: 0,
    keyed,
    mode: random() < 0.8 ? 'none' : pick(random, ['simple', 'cascade']),
    explicit: random() < 0.1,
    twice: keyed && random() < 0.15,
    againMs: keyed && random() < 0.3 ? whole(random, 1, 6000) : 0,
    lost: keyed && random() < 0.15 ? 1 : 0,
    ...part,
  };
}

function bankOf(random: Random, plan: Plan): PlannedCommand[] {
  const accounts = plan.workload === 'hot' ? 1 : whole(random, 2, 5);
  const account = () => whole(random, 1, accounts);
  const commands: PlannedCommand[] = [];
  const burst = plan.workload === 'hot' ? 0.7 : 0.2;
  const wanted = whole(random, 6, plan.workload === 'hot' ? 24 : 18);
  let atMs = 0;
  while (commands.length < wanted) {
    if (random() >= burst) atMs += Math.floor((random() * 2 * BUSY_MS) / wanted);
    const draw = random();
    const root = account();
    const amount = whole(random, 1, 10);
    const base = { atMs: atMs + whole(random, 0, 30), root, amount };
    if (commands.length < accounts || draw < 0.3) commands.push(commandOf(random, plan, { ...base, type: 'Deposit' }));
    else if (draw < 0.5) commands.push(commandOf(random, plan, { ...base, type: 'Withdraw' }));
    else if (draw < 0.57) commands.push(commandOf(random, plan, { ...base, type: 'Record' }));
    else if (draw < 0.62) commands.push(commandOf(random, plan, { ...base, type: 'Touch' }));
    else if (draw < 0.66 && accounts > 1) commands.push(commandOf(random, plan, { ...base, type: 'Close' }));
    else commands.push(commandOf(random, plan, { ...base, type: 'Transfer', other: account() }));
  }
  return commands;
}

function ordersOf(random: Random, plan: Plan): PlannedCommand[] {
  const items = whole(random, 1, 2);
  const commands: PlannedCommand[] = [];
  for (let item = 1; item <= items; item++) {
    const supply = {
      type: 'Supply',
      root: item,
      amount: whole(random, 1, 4),
      keyed: true,
      atMs: whole(random, 0, 500),
    };
    commands.push(commandOf(random, plan, { ...supply, explicit: false }));
  }
  const orders = whole(random, 2, 6);
  for (let order = 1; order <= orders; order++) {
    const atMs = Math.floor(random() * BUSY_MS);
    const base = { root: order, other: whole(random, 1, items), amount: 1, explicit: false };
    commands.push(commandOf(random, plan, { ...base, type: 'Place', atMs, keyed: true }));
    for (let paid = whole(random, 0, 2); paid > 0; paid--) {
      const later = pick(random, [0, 5, 30, 1000]);
      commands.push(commandOf(random, plan, { ...base, type: 'Pay', atMs: atMs + Math.floor(random() * later) }));
    }
  }
  return commands;
}

/** Each seed has some kinds of faults, and none of the others. */
function faultsOf(random: Random, plan: Plan): Fault[] {
  const faults: Fault[] = [];
  const daemon = () => whole(random, 0, plan.daemons - 1);
  const commits = () => random() < 0.6;
  const call = (ofCommits: boolean) => (ofCommits ? whole(random, 1, 40) : whole(random, 1, 250));
  const atMs = () => Math.floor(random() * BUSY_MS * 1.3);
  const names =
    plan.workload === 'orders' ? [PROCESS_MANAGER, 'order', 'stock'] : [SAGA, PROJECTOR, 'account', 'journal'];
  const what = () => pick<ComponentFault>(random, ['error', 'error', 'timeout', 'lost', 'wrong', 'overloaded', 'slow']);
  const some = (chance: number, most: number, add: () => Fault) => {
    if (random() >= chance) return;
    for (let count = whole(random, 1, most); count > 0; count--) faults.push(add());
  };
  some(0.5, 4, () => {
    const ofCommits = commits();
    const when = pick<'before' | 'after'>(random, ['before', 'after']);
    const times = pick(random, [1, 1, 1, 3, 15]);
    return { kind: 'store', daemon: daemon(), call: call(ofCommits), commits: ofCommits, when, times };
  });
  some(0.3, 4, () => {
    const ofCommits = commits();
    const forMs = pick(random, [20, 200, 2000, 4000]);
    return { kind: 'slow-store', daemon: daemon(), call: call(ofCommits), commits: ofCommits, forMs };
  });
  some(0.15, 1, () => ({ kind: 'outage', atMs: atMs(), forMs: pick(random, [100, 1000, 4000]) }));
  some(0.5, 3, () => {
    const ofCommits = commits();
    const when = pick<'before' | 'after'>(random, ['before', 'after']);
    const downMs = pick(random, [50, 500, 4000]);
    return { kind: 'kill', daemon: daemon(), call: call(ofCommits), commits: ofCommits, when, downMs };
  });
  some(0.2, 2, () => ({ kind: 'kill-at', daemon: daemon(), atMs: atMs(), downMs: pick(random, [50, 500, 4000]) }));
  some(0.2, 2, () => ({ kind: 'stop', daemon: daemon(), atMs: atMs(), downMs: pick(random, [0, 200, 2500]) }));
  some(0.3, 2, () => {
    const ofCommits = commits();
    const forMs = pick(random, [500, 2000, 4600, 6000]);
    return { kind: 'pause', daemon: daemon(), call: call(ofCommits), commits: ofCommits, forMs };
  });
  some(0.2, 2, () => ({
    kind: 'pause-at',
    daemon: daemon(),
    atMs: atMs(),
    forMs: pick(random, [500, 2000, 4600, 6000]),
  }));
  some(0.15, 2, () => ({ kind: 'clock', daemon: daemon(), atMs: atMs(), jumpMs: whole(random, -5000, 5000) }));
  some(0.4, 3, () => {
    const times = pick(random, [1, 1, 2, 8]);
    return { kind: 'component', name: pick(random, names), call: whole(random, 1, 40), times, what: what() };
  });
  some(0.4, 2, () => {
    const times = pick(random, [1, 2, 5, 12]);
    const name = plan.workload === 'orders' ? PROCESS_MANAGER : pick(random, [SAGA, PROJECTOR]);
    return { kind: 'poison', name, event: whole(random, 1, 20), times, what: what() };
  });
  some(0.2, 2, () => {
    const forMs = pick(random, [100, 1000, 4000]);
    return { kind: 'away', daemon: daemon(), name: pick(random, names), atMs: atMs(), forMs };
  });
  return faults;
}
