// `npm run retail -- <orders.csv> [--kill <times>]`: a year of a real shop, through a real daemon.
//
// Sends every order of the file to its customer's aggregate by ExecutePipelined, then reads each customer back and compares with the
// file. With --kill the daemon is killed and started again that many times meanwhile: the sender repeats what was not
// answered, with the same keys, and the totals must come out the same.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { attach, type Client, connect } from '@daybook/client';
import { startDaemon } from '../shop/daemon.ts';
import { addOrder, customers, NOTHING, orderOf, rootOfCustomer, type Totals } from './customer.ts';
import { readOrders, totalsOf } from './orders-file.ts';
import { type Sent, sendAll } from './sender.ts';

const { path, kills } = readArguments();
const orders = readOrders(path);
const expected = totalsOf(orders);
const folder = mkdtempSync(join(tmpdir(), 'daybook-retail-'));
let daemon = await startDaemon(folder);
const { address } = daemon;
const host = attach({ address, name: 'retail', aggregates: [customers], onEvent: () => {} });
await host.ready();
const client = connect({ address });
console.log(`${orders.length} orders of ${expected.size} customers, to a daemon with SQLite in ${folder}`);

const startedMs = performance.now();
const killAt = randomMoments(kills, orders.length);
let restarting = Promise.resolve();
const sent = await sendAll(client, host, orders, (progress) => {
  if (progress.answered % 2_000 === 0) report(progress);
  if (progress.answered >= killAt[0]!) {
    killAt.shift();
    restarting = restarting.then(killAndRestart);
  }
});
await restarting;
report(sent);
if (kills > 0) console.log(`${sent.repeated} were sent again; ${sent.known} of them had taken effect, and did so once`);

const differences = await compare(client, expected);
client.close();
await host.close();
await daemon.stop();
for (const difference of differences) console.error(difference);
if (differences.length === 0) {
  console.log(`every one of the ${expected.size} customers has the file's count and total`);
  rmSync(folder, { recursive: true });
} else {
  console.error(
    `${differences.length} of ${expected.size} customers differ from the file; the database is in ${folder}`,
  );
  process.exitCode = 1;
}

function readArguments(): { path: string; kills: number } {
  const { values, positionals } = parseArgs({ options: { kill: { type: 'string' } }, allowPositionals: true });
  const kills = Number(values.kill ?? 0);
  if (positionals.length !== 1 || !Number.isInteger(kills) || kills < 0) {
    console.error('usage: npm run retail -- <orders.csv> [--kill <times>]');
    process.exit(2);
  }
  return { path: positionals[0]!, kills };
}

/** As numbers of answered orders, so that every kill finds work in hand. */
function randomMoments(count: number, length: number): number[] {
  return Array.from({ length: count }, () => Math.ceil(Math.random() * length * 0.9)).sort((a, b) => a - b);
}

async function killAndRestart(): Promise<void> {
  console.log('  SIGKILL');
  await daemon.kill();
  // Where it was, so that everybody finds it again.
  daemon = await startDaemon(folder, address);
}

function report({ answered }: Sent): void {
  const seconds = (performance.now() - startedMs) / 1000;
  const rate = Math.round(answered / seconds);
  console.log(`${String(answered).padStart(8)} answered in ${seconds.toFixed(1)} s, ${rate} orders/s`);
}

/** A sentence for each customer whose events do not add up to what the file says. */
async function compare(from: Client, totals: Map<string, Totals>): Promise<string[]> {
  const differences: string[] = [];
  const left = totals.entries();
  const compareNext = async (): Promise<void> => {
    for (const [customerNo, inFile] of left) {
      const stored = await foldCustomer(from, customerNo);
      if (stored.orders === inFile.orders && stored.pence === inFile.pence) continue;
      differences.push(
        `customer ${customerNo}: expected ${inFile.orders} orders and ${inFile.pence} pence, ` +
          `found ${stored.orders} and ${stored.pence}`,
      );
    }
  };
  // Side by side: each takes the next customer that nobody has taken.
  await Promise.all(Array.from({ length: 16 }, compareNext));
  return differences;
}

async function foldCustomer(from: Client, customerNo: string): Promise<Totals> {
  let totals = NOTHING;
  const query = { domain: 'customer', root: rootOfCustomer(customerNo), select: { from: 0 } };
  for await (const { pages } of from.getEvents(query)) {
    for (const page of pages) totals = addOrder(totals, orderOf(page.event!));
  }
  return totals;
}
