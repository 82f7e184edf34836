// What goes on while chaos reigns, and what must be true all the same.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { attach, type Client, connect, type Host } from '@daybook/client';
import type { Random } from '../support/random.ts';
import { Auditor } from './auditor.ts';
import { Customers } from './customers.ts';
import { FulfilmentAuditor } from './fulfilment-auditor.ts';
import { DOMAIN, ledger } from './ledger.ts';
import { Load } from './load.ts';
import type { Tables } from './tables.ts';

export interface Work {
  /** Commands so far. */
  readonly answered: number;
  readonly faults: readonly string[];
  /** How far the auditor has read. */
  readonly position: number;
  /** What the auditor can say at any time. */
  audit(): Promise<void>;
  /** Kills a process that hosts components, and starts another. False: there is none of its own. */
  killHost(random: Random): Promise<boolean>;
  /** When chaos is over: what was begun is finished. */
  settle(): Promise<void>;
  /** What can only be said when all is settled. `freshDaemons` kills them, so that caches are cold. */
  conclude(freshDaemons: () => Promise<void>): Promise<Record<string, unknown>>;
  close(): Promise<void>;
}

export interface WorkOptions {
  /** Of the daemons. */
  addresses: readonly string[];
  tables: Tables;
  seed: number;
}

export type WorkName = keyof typeof WORKS;

/** With the configuration that its daemons need. Domains are known from the start, so that commands that come before a host wait. */
export const WORKS = {
  ledger: { lines: [`domains: [${DOMAIN}]`], begin: beginLedger },
  orders: {
    lines: ['domains: [order, inventory, payment, payment-process, tally, wall, watch]'],
    begin: beginOrders,
  },
};

const clientsOf = (addresses: readonly string[]): Client[] =>
  addresses.map((address) => connect({ address, retry: { attempts: 1 } }));

/**
 * Commands of every kind with keys on 200 aggregates. Every acknowledged one is in the log exactly once, built on the history before it;
 * at the end all are repeated, and must get their first answers and change nothing.
 */
async function beginLedger({ addresses, tables, seed }: WorkOptions): Promise<Work> {
  const atLeastTwo = [...addresses, ...addresses].slice(0, Math.max(2, addresses.length));
  const hosts: Host[] = atLeastTwo.map((address, i) =>
    attach({ address, name: 'chaos', aggregates: [ledger(i % 2 === 0)], onEvent: () => {} }),
  );
  const clients = clientsOf(addresses);
  const load = new Load(clients, { seed, aggregates: 200, pipelines: 3, perPipeline: 20, unary: 8 });
  const auditor = new Auditor(tables);
  const faults: string[] = [];
  await Promise.all(hosts.map((host) => host.ready()));
  load.start();
  return {
    get answered() {
      return load.answered;
    },
    get faults() {
      return [...faults, ...load.faults, ...auditor.faults];
    },
    get position() {
      return auditor.position;
    },
    audit: () => auditor.audit(load.sent),
    killHost: async () => false,
    async settle() {
      await load.stop();
      await auditor.audit(load.sent);
    },
    async conclude(freshDaemons) {
      const before = await auditor.head();
      await freshDaemons();
      await Promise.all(hosts.map((host) => host.ready()));
      const repeated = await load.repeatAll(300);
      const after = await auditor.head();
      if (after.position !== before.position || after.outcomes !== before.outcomes)
        faults.push(`repeating changed the head from ${JSON.stringify(before)} to ${JSON.stringify(after)}`);
      await auditor.audit(load.sent);
      const { kinds, recovered } = countAnswers(load);
      return {
        commands: load.answered,
        ...kinds,
        events: auditor.position,
        streams: auditor.streams,
        repeats: Object.fromEntries(load.repeats),
        // Had taken effect before the answer was lost, and were told so on the repeat.
        answered_late: recovered,
        repeated_at_end: repeated,
      };
    },
    async close() {
      for (const client of clients) client.close();
      await Promise.all(hosts.map((host) => host.close({ timeoutMs: 1000 })));
    },
  };
}

function countAnswers(load: Load) {
  const kinds = { accepted: 0, empty: 0, rejected: 0, conflicts: 0 };
  let recovered = 0;
  for (const { parts, answer } of load.sent) {
    if (answer?.kind === 'events') kinds[parts === 0 ? 'empty' : 'accepted']++;
    else if (answer?.kind === 'rejection') kinds.rejected++;
    else if (answer?.kind === 'conflict') kinds.conflicts++;
    if (answer?.duplicate) recovered++;
  }
  return { kinds, recovered };
}

const HOST = join(import.meta.dirname, 'fulfilment-host.ts');
const CUSTOMERS = 20;
/** Of customers. */
const PATIENCE_MS = 1000;
/** After the chaos. */
const PEACEFUL_ORDERS = 40;
/** Without any progress, at the end. */
const STUCK_MS = 60_000;

/**
 * The shop, in a process beside each daemon, with witnesses that forgive nothing (witness.ts). Each confirmed order is paid and reserved, or
 * cancelled and released; each reaction and each timer takes effect once and in order; nothing is left over.
 */
async function beginOrders({ addresses, tables, seed }: WorkOptions): Promise<Work> {
  const faults: string[] = [];
  const hosts = addresses.map((address) => startHost(address, faults));
  process.once('exit', () => {
    for (const host of hosts) host.kill('SIGKILL');
  });
  const clients = clientsOf(addresses);
  const customers = new Customers(clients, seed);
  const auditor = new FulfilmentAuditor(tables);
  let hostKills = 0;
  const failed = () => faults.length + customers.faults.length + auditor.faults.length > 0;

  /** Nothing is left to be done. Whatever is left must become less, or the log grow. */
  const settled = async () => {
    let last = '';
    let sinceMs = performance.now();
    for (;;) {
      await auditor.read();
      const open = await auditor.open();
      if (open.length === 0) return;
      const now = `at position ${auditor.position}: ${open.join(', ')}`;
      if (now !== last) sinceMs = performance.now();
      if (performance.now() - sinceMs > STUCK_MS) return void faults.push(`stuck ${now}`);
      last = now;
      await sleep(50);
    }
  };

  await customers.stock();
  customers.start(CUSTOMERS);
  return {
    get answered() {
      return customers.answered;
    },
    get faults() {
      return [...faults, ...customers.faults, ...auditor.faults];
    },
    get position() {
      return auditor.position;
    },
    audit: () => auditor.read(),
    async killHost(random) {
      const n = Math.floor(random() * hosts.length);
      const gone = once(hosts[n]!, 'exit');
      hosts[n]!.kill('SIGKILL');
      await gone;
      hostKills++;
      hosts[n] = startHost(addresses[n]!, faults);
      return true;
    },
    async settle() {
      await customers.stop();
      await settled();
      // And in peace: whatever can become of an order becomes of some of these.
      const enough = customers.orders.length + PEACEFUL_ORDERS;
      customers.start(CUSTOMERS);
      while (customers.orders.length < enough && !failed()) await sleep(10);
      await customers.stop();
      await settled();
    },
    async conclude() {
      const figures = await auditor.settled(customers.orders);
      const repeats = Object.fromEntries(customers.repeats);
      return { commands: customers.answered, host_kills: hostKills, ...figures, repeats };
    },
    async close() {
      for (const client of clients) client.close();
      for (const host of hosts) host.kill('SIGKILL');
    },
  };
}

function startHost(address: string, faults: string[]): ChildProcess {
  const child = spawn(process.execPath, [HOST, address, String(PATIENCE_MS)], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr!.setEncoding('utf8').on('data', (text) => (said += text));
  child.once('exit', (code) => {
    if (code !== null) faults.push(`the shop ended by itself with ${code}: ${said.slice(-4000)}`);
  });
  return child;
}
