// A daemon whose PostgreSQL goes away and comes back: what callers, probes and reactions see of it.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import { type Aggregate, attach, type Command, connect, DaybookError, rootOf } from '@daybook/client';
import { startCli } from '../support/cli.ts';
import { testDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { freePort, type PostgresServer, startPostgres } from '../support/postgres.ts';
import { healthClient } from '../support/probes.ts';
import { openTcpProxy } from '../support/tcp-proxy.ts';

const server = await startPostgres(['fsync=on']);
const skip = typeof server === 'string' ? server : false;
/** The other one as well in longer runs; it takes as long again. */
const MODES = process.env.DAYBOOK_TEST_LONG ? (['immediate', 'fast'] as const) : (['immediate'] as const);
/** For a process of its own, on a machine that has much to do. */
const STARTED_MS = 30_000;
const folder = mkdtempSync(join(tmpdir(), 'daybook-away-'));
after(() => rmSync(folder, { recursive: true }));

const payload = (type: string) => ({ typeUrl: `type.test/away.${type}`, value: new Uint8Array() });
const counter: Aggregate<number> = {
  domain: 'counter',
  initial: () => 0,
  evolve: (count) => count + 1,
  decide: (_, commands) => commands.map(() => payload('Counted')),
};

function count(root: string, key: string): Command {
  return { domain: 'counter', root: rootOf(root), payload: payload('Count'), idempotencyKey: key };
}

const settingsOf = (url: string, health = '127.0.0.1:0') => ({
  DAYBOOK__STORAGE__TYPE: 'postgres',
  DAYBOOK__STORAGE__CONNECTION_STRING: url,
  DAYBOOK__LISTEN__ADDRESS: '127.0.0.1:0',
  DAYBOOK__LISTEN__HEALTH: health,
});

/** The HTTP status, and what is said of the store; `undefined`: nobody answers. */
async function probe(address: string, path = '/readyz') {
  const response = await fetch(`http://${address}${path}`).catch(() => undefined);
  if (response === undefined) return undefined;
  const { parts } = (await response.json()) as { parts?: { daemon: string; store: string } };
  return { status: response.status, store: parts?.store ?? '', daemon: parts?.daemon ?? '' };
}

const reasonOf = (error: unknown) => (error instanceof DaybookError ? error.reason : String(error));

/** Started again at the end of a test, whatever became of it. */
async function stopped(t: TestContext, mode: 'fast' | 'immediate'): Promise<() => Promise<void>> {
  const postgres = server as PostgresServer;
  let away = true;
  const start = async () => {
    if (away) await postgres.start();
    away = false;
  };
  await postgres.stop(mode);
  t.after(start);
  return start;
}

describe('the database goes away', { skip }, () => {
  const postgres = server as PostgresServer;

  for (const mode of MODES) {
    test(`(${mode}): nobody is told a lie, health says why, reactions pause, and everything goes on by itself`, async (t) => {
      await using daemon = await testDaemon({ env: settingsOf(postgres.url('postgres')) });
      const { address } = daemon;
      const client = connect({ address, retry: { attempts: 1 } });
      t.after(() => client.close());
      const name = `seen-${mode}`;
      const seen: number[] = [];
      const host = attach({
        address,
        name: 'away',
        aggregates: [counter],
        sagas: [
          {
            name,
            domains: ['counter'],
            react: (_, { page }) => {
              seen.push(page.position);
              return {};
            },
          },
        ],
        onEvent: () => {},
      });
      t.after(() => host.close({ timeoutMs: 1000 }));
      await host.ready();
      const health = healthClient(address);
      t.after(() => health.close());
      const watch = health.watch();
      const warm = `warm-${mode}`;
      const first = await client.execute(count(warm, `${mode}/first`));
      const before = first.events!.pages[0]!.position;
      await client.execute(count(`other-${mode}`, `${mode}/other`));
      await eventually('it was reacted to', () => seen.includes(before));
      assert.equal((await probe(daemon.daemon.addresses.health))!.status, 200);

      const start = await stopped(t, mode);
      const told = await eventually('it is not ready', async () => {
        const now = await probe(daemon.daemon.addresses.health);
        return now!.status === 503 && now!;
      });
      assert.match(told.store, /^postgres 127\.0\.0\.1.* cannot be used: /);
      assert.equal(told.daemon, 'ok');
      await eventually('grpc health says so', async () => (await health.check()) === 'NOT_SERVING');
      assert.equal((await probe(daemon.daemon.addresses.health, '/livez'))!.status, 200);

      // What is read first fails at once; what is only to be stored is tried for some seconds.
      const commands = [count(`cold-${mode}`, `${mode}/cold`), count(warm, `${mode}/warm`)];
      const failures = await Promise.all(commands.map((one) => client.execute(one).then(() => 'accepted', reasonOf)));
      for (const failure of failures) assert.match(failure, /^(STORE_UNAVAILABLE|OUTCOME_UNKNOWN)$/);
      assert.equal(failures[0], 'STORE_UNAVAILABLE');

      // This one is under way when the server comes back.
      const waiting = client.execute(count(`other-${mode}`, `${mode}/waiting`));
      await start();
      const back = await waiting;
      await eventually('it is ready again', async () => (await probe(daemon.daemon.addresses.health))!.status === 200);
      await eventually('the watcher saw it', () => watch.seen.length >= 3 && watch.seen.at(-1) === 'SERVING');
      assert.deepEqual(watch.seen.slice(0, 2), ['SERVING', 'NOT_SERVING']);

      const read = await client.getEventBook({ domain: 'counter', root: rootOf(warm) });
      const positions = read.pages.map(({ position }) => position);
      assert.equal(positions[0], before);
      assert(back.events!.pages[0]!.position > before);
      // What was said not to be stored is not there; what nobody knew is told now, and is there once.
      const unknown = failures[1] === 'OUTCOME_UNKNOWN';
      const again = await client.execute(commands[1]!);
      if (!unknown) assert.equal(again.duplicate, false);
      const after = await client.getEventBook({ domain: 'counter', root: rootOf(warm) });
      assert.equal(after.pages.length, 2);
      assert.equal((await client.execute(commands[0]!)).duplicate, false);
      await eventually('the reactions go on', () => seen.includes(again.events!.pages[0]!.position));
      assert.equal(new Set(seen).size, seen.length, 'each is reacted to once');
      watch.cancel();
    });
  }

  test('before a daemon starts: it waits, says what for, and is ready when the database is', async (t) => {
    const start = await stopped(t, 'fast');
    const health = `127.0.0.1:${await freePort()}`;
    const env = settingsOf(postgres.url('postgres'), health);
    const [daemon, other] = [
      startCli(['start'], { cwd: folder, env }),
      startCli(['start'], { cwd: folder, env: { ...env, DAYBOOK__LISTEN__HEALTH: '127.0.0.1:0' } }),
    ];
    t.after(() => daemon.child.kill('SIGKILL'));
    t.after(() => other.child.kill('SIGKILL'));
    const waiting = await eventually(
      'it says what it waits for',
      async () => {
        const now = await probe(health);
        return now !== undefined && now.store !== 'not open yet' && now;
      },
      STARTED_MS,
    );
    assert.equal(waiting.status, 503);
    assert.match(waiting.store, /cannot be used: .*ECONNREFUSED/);
    assert.equal(waiting.daemon, 'starting');
    assert.equal((await probe(health, '/livez'))!.status, 200);
    await eventually('the log says so', () => other.stderr.includes('waiting for the store'), STARTED_MS);
    other.child.kill('SIGTERM');
    assert.equal(await other.ended, 0, other.stderr);

    assert.equal(daemon.stdout, '');
    await start();
    await eventually('it is ready', () => daemon.stdout.includes('"ready":true'), STARTED_MS);
    assert.deepEqual(await probe(health), { status: 200, store: 'ok', daemon: 'ok' });
    daemon.child.kill('SIGTERM');
    assert.equal(await daemon.ended, 0, daemon.stderr);
  });

  test('what only somebody can mend ends the start with a sentence', async () => {
    const daemon = startCli(['start'], { cwd: folder, env: settingsOf(postgres.url('missing')) });
    assert.equal(await daemon.ended, 1);
    assert.match(daemon.stderr, /cannot start: postgres .* cannot be used: database \\"missing\\" does not exist/);
  });

  test('trap 15: a database that says nothing is away as well, and leases are not used meanwhile', async (t) => {
    const proxy = await openTcpProxy({ host: '127.0.0.1', port: postgres.port });
    t.after(() => proxy.close());
    const url = postgres.url('postgres').replace(String(postgres.port), String(proxy.port));
    await using daemon = await testDaemon({ env: { ...settingsOf(url), DAYBOOK__LIMITS__LEASE_MS: '1000' } });
    const host = attach({ address: daemon.address, name: 'mute', aggregates: [counter], onEvent: () => {} });
    t.after(() => host.close({ timeoutMs: 1000 }));
    await host.ready();
    proxy.stall();
    const told = await eventually('it is not ready', async () => {
      const now = await probe(daemon.daemon.addresses.health);
      return now!.status === 503 && now!;
    });
    assert.match(told.store, /has not answered for 0\.5 s/);
    proxy.resume();
    await eventually('it is ready again', async () => (await probe(daemon.daemon.addresses.health))!.status === 200);
  });
});
