// The same day, with pods that are not alike: one hosts the orders, one the stock and the saga, one the payments and what reads and waits.
// Each has a daemon of its own, all three share one log in PostgreSQL, and it does not matter which of them is asked.
//
//   node examples/shop/pods.ts postgres://user@host:5432/database
//
// --ask 2           asks the second daemon (default: the first)
// --without-peers   daemons do not call each other: commands go through the outbox
// --restart         each pod is killed once during the day, and comes back

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type AttachOptions, attach, type Client, connect } from '@daybook/client';
import { check } from './check.ts';
import { readCommands } from './commands.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { fulfilment } from './fulfilment.ts';
import { inventory } from './inventory.ts';
import { orders } from './order.ts';
import { orderSummary } from './order-summary.ts';
import { payments } from './payment.ts';
import { paymentProcess } from './payment-process.ts';
import { follow, type Outcomes, play } from './play.ts';
import { readModels, showReadModels } from './show.ts';
import { stockLevels } from './stock-levels.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    ask: { type: 'string', default: '1' },
    'without-peers': { type: 'boolean', default: false },
    restart: { type: 'boolean', default: false },
  },
});
const [database] = positionals;
if (database === undefined) throw new Error('expected the URL of a PostgreSQL database in which there is no log yet');

const hosted: Omit<AttachOptions, 'address' | 'name'>[] = [
  { aggregates: [orders] },
  { aggregates: [inventory], sagas: [fulfilment] },
  {
    aggregates: [payments],
    projectors: [orderSummary, stockLevels],
    processManagers: [paymentProcess({ deadlineMs: 1500 })],
  },
];
const folder = mkdtempSync(join(tmpdir(), 'daybook-pods-'));

async function startPod(number: number, address?: string): Promise<Daemon> {
  const place = join(folder, `pod-${number + 1}`);
  mkdirSync(place, { recursive: true });
  const peers = values['without-peers']
    ? {}
    : { peers: { token: 'whoever has this is one of us' }, listen: { peers: '127.0.0.1:0' } };
  return startDaemon(place, address, {
    storage: { type: 'postgres', connection_string: database },
    // A daemon that was killed is given up sooner than usual: the day is short.
    limits: { lease_ms: 2000 },
    ...peers,
    listen: { address: address ?? '127.0.0.1:0', health: '127.0.0.1:0', ...peers.listen },
  });
}

/** Everything is hosted, and `killed` is no longer taken for alive. */
async function allAreThere(client: Client, killed?: string): Promise<void> {
  for (const end = performance.now() + 30_000; performance.now() < end; ) {
    const instances = await client.control.listInstances();
    const there = instances.flatMap(({ domains, components }) => [...domains, ...components]);
    const mourned = instances.some(({ instance }) => instance === killed);
    if (!mourned && instances.length === hosted.length && there.length === 7) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('the pods did not find each other within 30 s');
}

/** What the daemon of a pod is called while it runs; the next one at its address is another. */
async function instanceOf(client: Client, pod: number): Promise<string> {
  const { domain } = hosted[pod]!.aggregates![0]!;
  const instances = await client.control.listInstances();
  return instances.find(({ domains }) => domains.includes(domain))!.instance;
}

const pods: Daemon[] = [];
for (const number of hosted.keys()) pods.push(await startPod(number));
const hosts = hosted.map((what, i) => attach({ address: pods[i]!.address, name: `shop-${i + 1}`, ...what }));
await Promise.all(hosts.map((host) => host.ready()));
const asked = Number(values.ask);
const client = connect({ address: pods[asked - 1]!.address });
await allAreThere(client);
console.log(`Daybook: a day in the shop, on three pods; daemon ${asked} is asked\n`);

const commands = readCommands(new URL('commands.jsonl', import.meta.url));
const parts = values.restart ? [4, 9, 10, commands.length] : [commands.length];
const outcomes: Outcomes = { decided: 0, rejected: 0, repeated: 0, told: new Map() };
for (let part = 0, from = 0; part < parts.length; from = parts[part++]!) {
  const { decided, rejected, repeated, told } = await play(client, commands.slice(from, parts[part]));
  outcomes.decided += decided;
  outcomes.rejected += rejected;
  outcomes.repeated += repeated;
  for (const [of, position] of told) outcomes.told.set(of, position);
  if (part === parts.length - 1) break;
  console.log(`${''.padEnd(8)}pod ${part + 1} is killed, and comes back`);
  const killed = await instanceOf(client, part);
  await pods[part]!.kill();
  pods[part] = await startPod(part, pods[part]!.address);
  await allAreThere(client, killed);
}
console.log('\nNobody pays for A-1002. When the time is over:');
await follow(client, 'A-1002', outcomes.told.get('A-1002')!, ['OrderCancelled', 'StockReleased', 'PaymentCancelled']);

const { consistencyToken } = await client.positions.head();
await client.positions.wait(consistencyToken);
const shown = await readModels(client, consistencyToken);
showReadModels(shown);
const faults = await check(client, shown);
const { decided, rejected, repeated } = outcomes;
console.log(JSON.stringify({ decided, rejected, repeated, ...shown, faults }));

client.close();
await Promise.all(hosts.map((host) => host.close()));
await Promise.all(pods.map((pod) => pod.stop()));
for (const fault of faults) console.error(`fault: ${fault}`);
if (faults.length === 0) rmSync(folder, { recursive: true });
else console.error(`the logs of the daemons are in ${folder}`);
process.exitCode = faults.length > 0 ? 1 : 0;
