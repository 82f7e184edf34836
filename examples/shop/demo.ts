// `npm run demo`: a day in the shop, from an empty database.
//
// Starts a daemon, attaches the shop (host.ts), sends it the commands of commands.jsonl, and shows what became of them. Read
// order.ts first: it holds the rules. With `-- --once` it ends by itself, and with 0 only if all is as it should be.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Client, connect, type EventBook, Rejected, rootOf, typeName, uuidText } from '@daybook/client';
import { readCommands, type ShopCommand } from './commands.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { Follower } from './follower.ts';
import { attachShop } from './host.ts';
import { type Order, orders } from './order.ts';

const once = process.argv.includes('--once');
const folder = mkdtempSync(join(tmpdir(), 'daybook-demo-'));
const stopped = new Promise((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve);
});

const daemon = await startDaemon(folder);
console.log('Daybook: a day in the shop\n');
console.log(`  daemon   ${daemon.address}, SQLite in ${folder}`);
const shop = attachShop(daemon.address);
await shop.ready();
console.log("  shop     attached: it decides for the domain 'order'\n");

const client = connect({ address: daemon.address });
const followers = new Map<string, Follower>();
const outcomes = await play(readCommands(new URL('commands.jsonl', import.meta.url)));
const faults = await summarize(outcomes);
if (!once) {
  suggest(daemon);
  await stopped;
  console.log('\nstopping');
}

// In the order of the questions: who asks, who answers, who remembers.
for (const follower of followers.values()) await follower.stop();
client.close();
await shop.close();
await daemon.stop();
for (const fault of faults) console.error(`fault: ${fault}`);
if (faults.length > 0) console.error(`the log of the daemon is in ${folder}`);
else rmSync(folder, { recursive: true });
process.exitCode = faults.length > 0 ? 1 : 0;

interface Outcomes {
  decided: number;
  rejected: number;
  repeated: number;
  /** The last position that an answer named. */
  position: number;
}

async function play(commands: ShopCommand[]): Promise<Outcomes> {
  const outcomes: Outcomes = { decided: 0, rejected: 0, repeated: 0, position: 0 };
  const width = Math.max(...commands.map(({ text }) => text.length));
  console.log(`${'order'.padEnd(8)}${'asked'.padEnd(width + 2)}answer`);
  for (const each of commands) {
    const answer = await send(each, outcomes);
    console.log(`${each.orderNo.padEnd(8)}${each.text.padEnd(width + 2)}${answer}`);
  }
  return outcomes;
}

/**
 * ExecuteStream answers with the command's own events, and then with all that follows under its correlation id. The first stream of
 * each order stays open and follows the order; the others are left after the answer.
 */
async function send({ orderNo, command }: ShopCommand, outcomes: Outcomes): Promise<string> {
  const leave = new AbortController();
  const books = client.executeStream(command, { signal: leave.signal });
  let own: EventBook;
  try {
    own = (await books.next()).value!;
  } catch (error) {
    if (!(error instanceof Rejected)) throw error;
    outcomes.rejected++;
    return `✗ ${error.rejectionCode}: ${error.rejection.message}`;
  }
  if (followers.has(orderNo)) await books.return();
  else followers.set(orderNo, new Follower(own, books, leave));

  const { pages } = own;
  if (pages.length === 0) {
    outcomes.decided++;
    return '· nothing to do';
  }
  const events = pages.map((page) => typeName(page.event!).replace('shop.v1.', '')).join(', ');
  const { position } = pages.at(-1)!;
  if (position <= outcomes.position) {
    outcomes.repeated++;
    return `✓ ${events} at ${position}, as before: the same key`;
  }
  outcomes.decided++;
  outcomes.position = position;
  return `✓ ${events} at ${position}`;
}

/** Compares what was answered with what is stored and what was streamed. Returns what does not agree. */
async function summarize(outcomes: Outcomes): Promise<string[]> {
  const faults: string[] = [];
  const { decided, rejected, repeated } = outcomes;
  console.log(`\n${decided} decided, ${rejected} rejected, ${repeated} repeated and answered as the first time.\n`);
  console.log('order   customer             status     items       total  events  streamed');
  let confirmedPence = 0;
  for (const [orderNo, follower] of followers) {
    const { order, events } = await read(client, orderNo);
    await settled(() => follower.events >= events);
    const { customer, status, items, totalPence } = order;
    const total = pounds(totalPence);
    if (status === 'confirmed') confirmedPence += totalPence;
    console.log(
      `${orderNo.padEnd(8)}${customer.padEnd(21)}${status.padEnd(11)}${pad(items, 5)}${pad(total, 12)}${pad(events, 8)}${pad(follower.events, 10)}`,
    );
    if (follower.events !== events) faults.push(`${orderNo}: ${events} events stored, ${follower.events} streamed`);
  }
  const stored = await countLog(client);
  console.log(
    `\nSold for ${pounds(confirmedPence)}. The log holds ${stored.events} events, at positions 1 to ${stored.position}.`,
  );
  if (stored.position !== stored.events) faults.push(`the log has ${stored.events} events up to ${stored.position}`);
  if (stored.position !== outcomes.position) faults.push(`the last answer said position ${outcomes.position}`);
  return faults;
}

/** An order as its events tell it: the function that decides with it folds it here too. */
async function read(from: Client, orderNo: string): Promise<{ order: Order; events: number }> {
  const { pages } = await from.getEventBook({ domain: 'order', root: rootOf(orderNo), select: { from: 0 } });
  let order = orders.initial();
  for (const page of pages) order = orders.evolve(order, page.event!, page);
  return { order, events: pages.length };
}

async function countLog(from: Client): Promise<{ events: number; position: number }> {
  const log = { events: 0, position: 0 };
  for await (const { books, position } of from.readLog()) {
    for (const book of books) log.events += book.pages.length;
    log.position = position;
  }
  return log;
}

/** Streams come a moment after the answer. */
async function settled(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!condition() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
}

function suggest({ address }: Daemon): void {
  const root = uuidText(rootOf('A-1005'));
  console.log(`
The daemon and the shop keep running. In another terminal, try:

  npm run -s daybook -- events order/${root} --address ${address}
  npm run -s daybook -- tail --address ${address}
  npm run -s daybook -- verify --config ${join(folder, 'daybook.yaml')}

Ctrl-C ends everything and removes the database.`);
}

function pounds(pence: number): string {
  return `£${(pence / 100).toFixed(2)}`;
}

function pad(value: string | number, width: number): string {
  return String(value).padStart(width);
}
