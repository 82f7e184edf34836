// Two daemons on one PostgreSQL, and one of them goes: how long its partitions are without anybody.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import { type Aggregate, attach, connect, type Host, rootOf, type Saga } from '@daybook/client';
import { startDaemonProcess } from '../support/cli.ts';
import { eventually } from '../support/eventually.ts';
import { testPostgres } from '../support/postgres.ts';

const postgres = await testPostgres();
const folder = mkdtempSync(join(tmpdir(), 'daybook-takeover-'));
after(() => rmSync(folder, { recursive: true }));

/** The default one in longer runs. */
const LEASE_MS = process.env.DAYBOOK_TEST_LONG ? 12_000 : 2_000;
const AGGREGATES = 64;

const payload = (type: string) => ({ typeUrl: `type.test/takeover.${type}`, value: new Uint8Array() });
const counter: Aggregate<number> = {
  domain: 'counter',
  initial: () => 0,
  evolve: (count) => count + 1,
  decide: (_, commands) => commands.map(() => payload('Counted')),
};

interface Pod {
  handled: Set<number>;
  client: ReturnType<typeof connect>;
  host: Host;
  running: Awaited<ReturnType<typeof startDaemonProcess>>['running'];
}

/** A daemon and, beside it, who decides and reacts. */
async function startPod(t: TestContext, url: string): Promise<Pod> {
  const { running, ready } = await startDaemonProcess([], {
    cwd: folder,
    env: {
      DAYBOOK__STORAGE__TYPE: 'postgres',
      DAYBOOK__STORAGE__CONNECTION_STRING: url,
      DAYBOOK__LISTEN__ADDRESS: '127.0.0.1:0',
      DAYBOOK__LISTEN__HEALTH: '127.0.0.1:0',
      DAYBOOK__LIMITS__LEASE_MS: String(LEASE_MS),
    },
  });
  t.after(() => running.child.kill('SIGKILL'));
  const address = ready.api!;
  const handled = new Set<number>();
  const seen: Saga = {
    name: 'seen',
    domains: ['counter'],
    react: (_, { page }) => {
      handled.add(page.position);
    },
  };
  const host = attach({ address, name: 'pod', aggregates: [counter], sagas: [seen], onEvent: () => {} });
  t.after(() => host.close({ timeoutMs: 100 }));
  await host.ready();
  const client = connect({ address });
  t.after(() => client.close());
  return { handled, client, host, running };
}

/** An event in every partition; the positions. */
async function countEverywhere({ client }: Pod): Promise<number[]> {
  const answers = await Promise.all(
    Array.from({ length: AGGREGATES }, (_, i) =>
      client.execute({ domain: 'counter', root: rootOf(`a${i}`), payload: payload('Count') }),
    ),
  );
  return answers.map(({ events }) => events!.pages[0]!.position);
}

describe('a daemon goes', { skip: postgres.missing }, () => {
  for (const [how, signal] of [
    ['by SIGKILL: its partitions are served again when its lease is over', 'SIGKILL'],
    ['by SIGTERM: its partitions are given back before it ends, and served again at once', 'SIGTERM'],
  ] as const) {
    test(how, async (t) => {
      const url = await postgres.database();
      const [stays, goes] = [await startPod(t, url), await startPod(t, url)];
      await eventually(
        'both have their share',
        async () => {
          const positions = await countEverywhere(stays);
          await eventually(
            'all is handled',
            () => positions.every((p) => stays.handled.has(p) || goes.handled.has(p)),
            30_000,
          );
          const each = [stays, goes].map(({ handled }) => positions.filter((position) => handled.has(position)).length);
          return Math.min(...each) > AGGREGATES / 4;
        },
        30_000,
      );
      goes.running.child.kill(signal);
      await goes.running.ended;
      const left = `SELECT count(*)::int AS n FROM daybook.cursors WHERE owner NOT IN (SELECT instance FROM daybook.instances)`;
      if (signal === 'SIGTERM') assert.equal((await postgres.query(url, left))[0]!.n, 0);
      const beganMs = performance.now();
      const positions = await countEverywhere(stays);
      await eventually('all of it is handled by the other', () => positions.every((p) => stays.handled.has(p)), 30_000);
      t.diagnostic(`${Math.round(performance.now() - beganMs)} ms, with leases of ${LEASE_MS} ms`);
      const rows = await postgres.query(url, 'SELECT count(*)::int AS n FROM daybook.cursors WHERE owner IS NULL');
      assert.equal(rows[0]!.n, 0);
    });
  }
});
