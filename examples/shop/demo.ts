// `npm run demo`: a day in the shop, from an empty database.
//
// Starts a daemon, attaches the shop (host.ts), sends it the commands of commands.jsonl, and shows what became of them. README.md tells
// which file is what. With `-- --once` it ends by itself, and with 0 only if all is as it should be.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '@daybook/client';
import { check } from './check.ts';
import { readCommands } from './commands.ts';
import { DAYBOOK, type Daemon, startDaemon } from './daemon.ts';
import { attachShop } from './host.ts';
import { follow, play } from './play.ts';
import { readModels, showReadModels } from './show.ts';

/** How long customers have to pay, today. */
const PAYMENT_DEADLINE_MS = 1500;

const once = process.argv.includes('--once');
const folder = mkdtempSync(join(tmpdir(), 'daybook-demo-'));
const stopped = new Promise((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve);
});

const daemon = await startDaemon(folder);
console.log('Daybook: a day in the shop\n');
console.log(`  daemon   ${daemon.address}, SQLite in ${folder}`);
const shop = attachShop(daemon.address, { paymentDeadlineMs: PAYMENT_DEADLINE_MS });
await shop.ready();
console.log('  shop     attached: it decides about orders, stock and payments, and reacts to what happened');
console.log('\n✓ what happened   ✗ why not   → what followed, without anybody asking\n');

const client = connect({ address: daemon.address });
const { decided, rejected, repeated, told } = await play(
  client,
  readCommands(new URL('commands.jsonl', import.meta.url)),
);
console.log(`\n${decided} decided, ${rejected} rejected, ${repeated} repeated and answered as before.`);
console.log('\nNobody pays for A-1002. When the time is over:');
await follow(client, 'A-1002', told.get('A-1002')!, ['OrderCancelled', 'StockReleased', 'PaymentCancelled']);

// Whoever has the token of the log's end sees everything up to there.
const { consistencyToken, position } = await client.positions.head();
await client.positions.wait(consistencyToken);
const shown = await readModels(client, consistencyToken);
showReadModels(shown);
console.log('\nWhat led to what in A-1003, of which one article was not there (daybook explain A-1003):\n');
const explained = spawnSync(process.execPath, [DAYBOOK, 'explain', 'A-1003', '--address', daemon.address]);
console.log(explained.stdout.toString().trimEnd());
const faults = await check(client, shown);
if (explained.status !== 0) faults.push(`daybook explain: ${explained.stderr}`);
if (faults.length === 0) console.log(`\nAll is as it should be, in ${position} events.`);
if (!once) {
  suggest(daemon);
  await stopped;
  console.log('\nstopping');
}

// In the order of the questions: who asks, who answers, who remembers.
client.close();
await shop.close();
await daemon.stop();
for (const fault of faults) console.error(`fault: ${fault}`);
if (faults.length > 0) console.error(`the log of the daemon is in ${folder}`);
else rmSync(folder, { recursive: true });
process.exitCode = faults.length > 0 ? 1 : 0;

function suggest({ address }: Daemon): void {
  console.log(`
The daemon and the shop keep running. In another terminal, try:

  npm run -s daybook -- explain A-1001 --address ${address}
  npm run -s daybook -- tail --address ${address}
  npm run -s daybook -- verify --config ${join(folder, 'daybook.yaml')}

Ctrl-C ends everything and removes the database.`);
}
