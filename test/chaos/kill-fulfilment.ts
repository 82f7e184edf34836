// `npm run chaos:kill-reactions -- --kills 100`: kill -9 at random moments while orders are fulfilled, and what must be true all the same.
//
// A real daemon with SQLite, and the shop in a process of its own with witnesses beside it (witness.ts), are killed and started again while
// customers order and pay. At the end, when everything has settled, an auditor that reads the database file by itself says whether each
// confirmed order is paid and reserved, or cancelled and released; whether each reaction and each timer took effect once and in order; and
// whether anything is left in outbox, timers or parked keys. `daybook verify` must agree. Exit 1 otherwise.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { connect } from '@daybook/client';
import { type Running, runCli } from '../support/cli.ts';
import { seeded } from '../support/random.ts';
import { Customers } from './customers.ts';
import { ready, startIn } from './daemon.ts';
import { FulfilmentAuditor } from './fulfilment-auditor.ts';

const USAGE = 'usage: npm run chaos:kill-reactions -- [--kills <n>] [--seed <n>] [--customers <n>]';
const HOST = join(import.meta.dirname, 'fulfilment-host.ts');
/** A daemon lives so long at most, from its first answer. */
const LIFE_MS = 900;
/** One in so many is killed before it is ready, in the middle of its recovery. */
const EARLY = 6;
/** One in so many times the shop dies too, at another moment. */
const HOST_DIES = 4;
/** Of customers. */
const PATIENCE_MS = 1000;
/** After the last kill. */
const PEACEFUL_ORDERS = 40;
/** Without any progress, at the end. */
const STUCK_MS = 60_000;

const { kills, seed, customers: count } = readArguments();
const random = seeded(seed ^ 0x5eed);
const folder = mkdtempSync(join(tmpdir(), 'daybook-kill-'));
const config = join(folder, 'daybook.yaml');
const startedMs = performance.now();
const faults: string[] = [];
console.log(`seed ${seed}: ${kills} kills, ${count} customers, SQLite in ${folder}`);

let daemon = start('127.0.0.1:0');
const address = await ready(daemon);
let host = startHost();
let hostKills = 0;
process.once('exit', () => {
  daemon.child.kill('SIGKILL');
  host.kill('SIGKILL');
});
const client = connect({ address, retry: { attempts: 1 } });
const customers = new Customers(client, seed);
const auditor = new FulfilmentAuditor(join(folder, 'daybook.db'));

await customers.stock();
customers.start(count);
for (let kill = 1; kill <= kills && !failed(); kill++) {
  const early = kill > 1 && random() < 1 / EARLY;
  const lifeMs = Math.round(random() * LIFE_MS);
  const hostDies = random() < 1 / HOST_DIES;
  const hostLifeMs = Math.round(random() * lifeMs);
  // A daemon needs some hundred milliseconds until it is ready.
  if (early) await sleep(lifeMs / 2);
  else {
    await ready(daemon);
    auditor.read();
    await underLoad();
    await sleep(hostDies ? hostLifeMs : lifeMs);
    if (hostDies) {
      await restartHost();
      await sleep(lifeMs - hostLifeMs);
    }
  }
  if (daemon.child.exitCode !== null) faults.push(`kill ${kill}: the daemon had ended by itself: ${daemon.stderr}`);
  daemon.child.kill('SIGKILL');
  await daemon.ended;
  const moment = early ? `${Math.round(lifeMs / 2)} ms after its start` : `${lifeMs} ms after its first answer`;
  const shop = hostDies && !early ? ', and the shop' : '';
  console.log(
    `${elapsed()} kill ${kill}, ${moment}${shop}: ${customers.answered} answered, ${auditor.position} events`,
  );
  daemon = start(address);
}
await ready(daemon);
await customers.stop();
console.log(`${elapsed()} ${customers.orders.length} orders; waiting for what follows from them`);
await settled();
// And in peace: whatever can become of an order becomes of some of these.
const enough = customers.orders.length + PEACEFUL_ORDERS;
customers.start(count);
while (customers.orders.length < enough && !failed()) await sleep(10);
await customers.stop();
await settled();

client.close();
host.kill('SIGKILL');
daemon.child.kill('SIGTERM');
const ended = await daemon.ended;
if (ended !== 0) faults.push(`SIGTERM: expected exit code 0, found ${ended}: ${daemon.stderr}`);
const figures = auditor.settled(customers.orders);
await verify();
summarize();

function readArguments(): { kills: number; seed: number; customers: number } {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ options: { kills: text, seed: text, customers: text } });
  const given = {
    kills: Number(values.kills ?? 100),
    seed: Number(values.seed ?? Math.floor(Math.random() * 2 ** 31)),
    customers: Number(values.customers ?? 20),
  };
  if (!Object.values(given).every((value) => Number.isSafeInteger(value) && value > 0)) {
    console.error(USAGE);
    process.exit(2);
  }
  return given;
}

/** Its domains are known from the start, so that commands that come before the host are told to wait. */
function start(address: string): Running {
  return startIn(folder, address, ['domains: [order, inventory, payment, payment-process, tally, wall, watch]']);
}

function startHost(): ChildProcess {
  const child = spawn(process.execPath, [HOST, address, String(PATIENCE_MS)], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr!.setEncoding('utf8').on('data', (text) => (said += text));
  child.once('exit', (code) => {
    if (code !== null) faults.push(`the shop ended by itself with ${code}: ${said}`);
  });
  return child;
}

async function restartHost(): Promise<void> {
  const gone = once(host, 'exit');
  host.kill('SIGKILL');
  await gone;
  hostKills++;
  host = startHost();
}

/** Resolves when the customers have found the daemon, and the daemon the shop. */
async function underLoad(): Promise<void> {
  const { answered } = customers;
  const endMs = performance.now() + 30_000;
  while (customers.answered === answered) {
    if (performance.now() > endMs) throw new Error(`nothing was answered for 30 s: ${daemon.stderr}`);
    await sleep(2);
  }
}

/** Nothing is left to be done. Whatever is left must become less, or the log grow. */
async function settled(): Promise<void> {
  let last = '';
  let sinceMs = performance.now();
  for (;;) {
    auditor.read();
    const open = auditor.open();
    if (open.length === 0) return;
    const now = `at position ${auditor.position}: ${open.join(', ')}`;
    if (now !== last) sinceMs = performance.now();
    if (performance.now() - sinceMs > STUCK_MS) {
      faults.push(`stuck ${now}`);
      return;
    }
    last = now;
    await sleep(50);
  }
}

async function verify(): Promise<void> {
  const { code, stdout, stderr } = await runCli(['verify', '--config', config]);
  console.log(`${elapsed()} daybook verify: ${stdout.trim().replaceAll('\n', ', ')}`);
  if (code !== 0) faults.push(`daybook verify ended with ${code}: ${stdout}${stderr}`);
}

function elapsed(): string {
  return `${((performance.now() - startedMs) / 1000).toFixed(1).padStart(6)} s`;
}

function failed(): boolean {
  return faults.length + customers.faults.length + auditor.faults.length > 0;
}

function summarize(): void {
  const all = [...faults, ...customers.faults, ...auditor.faults];
  for (const fault of all.slice(0, 20)) console.error(`fault: ${fault}`);
  const summary = {
    seed,
    kills,
    shop_kills: hostKills,
    commands: customers.answered,
    ...figures,
    repeats: Object.fromEntries(customers.repeats),
    seconds: Number(elapsed().slice(0, -2)),
    faults: all.length,
  };
  console.log(JSON.stringify(summary));
  if (all.length === 0) rmSync(folder, { recursive: true });
  else console.error(`the database is in ${folder}; repeat with --seed ${seed} --kills ${kills}`);
  process.exit(all.length === 0 ? 0 : 1);
}
