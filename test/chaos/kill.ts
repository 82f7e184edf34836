// `npm run chaos:kill -- --kills 50`: kill -9 at random moments under load, and what must be true all the same.
//
// A real daemon with SQLite in a temporary folder is killed and started again while senders send commands with keys. After each
// start, and at the end, an auditor that reads the database file by itself compares: every acknowledged command is in the log
// exactly once, sequences and positions have no gap, each decision was built on the history before it. At the end `daybook
// verify` must agree, and repeating every command must change nothing and get the first answers again. Exit 1 otherwise.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { attach, connect } from '@daybook/client';
import { type Running, runCli } from '../support/cli.ts';
import { seeded } from '../support/random.ts';
import { Auditor } from './auditor.ts';
import { ready, startIn } from './daemon.ts';
import { DOMAIN, ledger } from './ledger.ts';
import { Load } from './load.ts';

const USAGE = 'usage: npm run chaos:kill -- [--kills <n>] [--seed <n>] [--aggregates <n>]';
/** A daemon lives so long at most, from its first answer. */
const LIFE_MS = 900;
/** One in so many is killed before it is ready, in the middle of its recovery. */
const EARLY = 6;

const { kills, seed, aggregates } = readArguments();
const random = seeded(seed ^ 0x5eed);
const folder = mkdtempSync(join(tmpdir(), 'daybook-kill-'));
const config = join(folder, 'daybook.yaml');
const startedMs = performance.now();
const faults: string[] = [];
console.log(`seed ${seed}: ${kills} kills, ${aggregates} aggregates, SQLite in ${folder}`);

let daemon = start('127.0.0.1:0');
process.once('exit', () => daemon.child.kill('SIGKILL'));
const address = await ready(daemon);
const hosts = [true, false].map((keepsState) =>
  attach({ address, name: 'chaos', aggregates: [ledger(keepsState)], onEvent: () => {} }),
);
const client = connect({ address, retry: { attempts: 1 } });
const load = new Load(client, { seed, aggregates, pipelines: 3, perPipeline: 100, unary: 8 });
const auditor = new Auditor(join(folder, 'daybook.db'));

await Promise.all(hosts.map((host) => host.ready()));
load.start();
for (let kill = 1; kill <= kills && !failed(); kill++) {
  const early = kill > 1 && random() < 1 / EARLY;
  const lifeMs = Math.round(random() * LIFE_MS);
  // A daemon needs some hundred milliseconds until it is ready.
  if (early) await sleep(lifeMs / 2);
  else {
    if (kill > 1) await ready(daemon);
    auditor.audit(load.sent);
    await underLoad();
    await sleep(lifeMs);
  }
  if (daemon.child.exitCode !== null) faults.push(`kill ${kill}: the daemon had ended by itself: ${daemon.stderr}`);
  daemon.child.kill('SIGKILL');
  await daemon.ended;
  const moment = early ? `${Math.round(lifeMs / 2)} ms after its start` : `${lifeMs} ms after its first answer`;
  console.log(`${elapsed()} kill ${kill}, ${moment}: ${load.answered} answered, ${auditor.position} events audited`);
  daemon = start(address);
}
await ready(daemon);
await sleep(300);
await load.stop();
auditor.audit(load.sent);
console.log(`${elapsed()} ${load.answered} commands answered; verifying`);
await verify();

const before = auditor.head();
// The first repeats find cold caches.
daemon.child.kill('SIGKILL');
await daemon.ended;
daemon = start(address);
await ready(daemon);
await Promise.all(hosts.map((host) => host.ready()));
console.log(`${elapsed()} repeating every command`);
const repeated = await load.repeatAll(300);
const after = auditor.head();
if (after.position !== before.position || after.outcomes !== before.outcomes)
  faults.push(`repeating changed the head from ${JSON.stringify(before)} to ${JSON.stringify(after)}`);
auditor.audit(load.sent);
await verify();

client.close();
await Promise.all(hosts.map((host) => host.close({ timeoutMs: 1000 })));
daemon.child.kill('SIGTERM');
const ended = await daemon.ended;
if (ended !== 0) faults.push(`SIGTERM: expected exit code 0, found ${ended}: ${daemon.stderr}`);
summarize();

function readArguments(): { kills: number; seed: number; aggregates: number } {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ options: { kills: text, seed: text, aggregates: text } });
  const given = {
    kills: Number(values.kills ?? 50),
    seed: Number(values.seed ?? Math.floor(Math.random() * 2 ** 31)),
    aggregates: Number(values.aggregates ?? 200),
  };
  if (!Object.values(given).every((value) => Number.isSafeInteger(value) && value > 0)) {
    console.error(USAGE);
    process.exit(2);
  }
  return given;
}

/** Its domain is known from the start, so that a command that comes before the host is told to wait. */
function start(address: string): Running {
  return startIn(folder, address, [`domains: [${DOMAIN}]`, 'limits: { snapshot_after_pages: 20 }']);
}

/** Resolves when the senders have found the daemon. */
async function underLoad(): Promise<void> {
  const { answered } = load;
  const endMs = performance.now() + 30_000;
  while (load.answered === answered) {
    if (performance.now() > endMs) throw new Error(`nothing was answered for 30 s: ${daemon.stderr}`);
    await sleep(2);
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
  return faults.length + load.faults.length + auditor.faults.length > 0;
}

function summarize(): void {
  const kinds = { accepted: 0, empty: 0, rejected: 0, conflicts: 0 };
  let recovered = 0;
  for (const { parts, answer } of load.sent) {
    if (answer?.kind === 'events') kinds[parts === 0 ? 'empty' : 'accepted']++;
    else if (answer?.kind === 'rejection') kinds.rejected++;
    else if (answer?.kind === 'conflict') kinds.conflicts++;
    if (answer?.duplicate) recovered++;
  }
  const all = [...faults, ...load.faults, ...auditor.faults];
  for (const fault of all.slice(0, 20)) console.error(`fault: ${fault}`);
  const summary = {
    seed,
    kills,
    commands: load.answered,
    ...kinds,
    events: auditor.position,
    streams: auditor.streams,
    repeats: Object.fromEntries(load.repeats),
    // Had taken effect before the daemon was killed, and were told so on the repeat.
    answered_after_kill: recovered,
    repeated_at_end: repeated,
    seconds: Number(elapsed().slice(0, -2)),
    faults: all.length,
  };
  console.log(JSON.stringify(summary));
  if (all.length === 0) rmSync(folder, { recursive: true });
  else console.error(`the database is in ${folder}; repeat with --seed ${seed} --kills ${kills}`);
  process.exit(all.length === 0 ? 0 : 1);
}
