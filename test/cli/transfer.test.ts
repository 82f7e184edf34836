// `daybook export` and `daybook import` as people run them.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openSqlite } from '../../src/stores/sqlite/index.ts';
import { runCli, startCli, startDaemonProcess } from '../support/cli.ts';
import { eventually } from '../support/eventually.ts';
import { ANY, append, freshStream, page, unit } from '../support/store-units.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-transfer-cli-'));
after(() => rmSync(folder, { recursive: true }));
let folders = 0;
function fresh(): string {
  const path = join(folder, String(++folders));
  mkdirSync(path);
  return path;
}

const EVENTS = 20_000;
const source = fresh();
const file = join(source, 'events.ndjson');

before(async () => {
  const store = await openSqlite({ path: join(source, 'data/daybook.db') });
  const streams = Array.from({ length: 50 }, (_, i) =>
    freshStream({ domain: i % 2 === 0 ? 'order' : 'stock', tenant: i < 10 ? 'acme' : '' }),
  );
  const units = Array.from({ length: EVENTS / 4 }, (_, i) => {
    const pages = () => [page({ metadata: { n: `${i} é\0` } }), page({ value: Uint8Array.of(0, i) })];
    return unit({
      appends: [append(streams[i % 50]!, ANY, pages()), append(streams[(i + 7) % 50]!, ANY, pages())],
    });
  });
  for (let i = 0; i < units.length; i += 500) await store.commit(units.slice(i, i + 500));
  await store.close();
  const { code, stdout } = await runCli(['export', file], { cwd: source });
  assert.equal(code, 0);
  assert.match(stdout, /^exported 20000 events of positions 1 to 20000 in [\d.]+ s, \d+ a second\n$/);
});

const whole = () => readFileSync(file, 'utf8');
const exportedAgain = async (cwd: string) => (await runCli(['export'], { cwd })).stdout;
const BIN = join(import.meta.dirname, '../../src/cli/daybook.ts');

/** An import that reads what is written to its stdin. */
function importing(cwd: string, ...args: string[]) {
  const env = { PATH: process.env.PATH };
  const child = spawn(process.execPath, [BIN, 'import', ...args], { cwd, env, stdio: ['pipe', 'ignore', 'pipe'] });
  child.stdin.on('error', () => {}); // It may end before it has read everything.
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  const ended = once(child, 'close').then(([code, signal]) => ({ ended: code ?? signal, stderr }));
  return { child, ended };
}

/** How far the log in a folder goes, as somebody beside sees it. */
async function positionIn(cwd: string): Promise<number> {
  const store = await openSqlite({ path: join(cwd, 'data/daybook.db'), readOnly: true }).catch(() => undefined);
  const head = await store?.head();
  await store?.close();
  return head?.position ?? 0;
}

const MEMORY = { DAYBOOK__STORAGE__TYPE: 'memory' };

describe('export', () => {
  test('to stdout, with the result on stderr; a file is there whole or not at all', async () => {
    const { code, stdout, stderr } = await runCli(['export', '--json'], { cwd: source });
    assert.equal(code, 0);
    assert.equal(stdout, whole());
    assert.deepEqual(JSON.parse(stderr), { events: EVENTS, from_position: 1, to_position: EVENTS });
    assert.deepEqual(
      readdirSync(source).filter((name) => name.includes('.part')),
      [],
    );
    const nowhere = await runCli(['export', 'missing/folder/file'], { cwd: source });
    assert.equal(nowhere.code, 1);
    assert.match(nowhere.stderr, /no such file or directory/);
  });

  test('into a link or a pipe: it stays what it is, a file does not take its place', async () => {
    const cwd = fresh();
    const env = { DAYBOOK__STORAGE__PATH: join(source, 'data/daybook.db') };
    symlinkSync('target.ndjson', join(cwd, 'link'));
    assert.equal((await runCli(['export', 'link'], { cwd, env })).code, 0);
    assert(lstatSync(join(cwd, 'link')).isSymbolicLink());
    assert.equal(readFileSync(join(cwd, 'target.ndjson'), 'utf8'), whole());
    assert.equal(spawnSync('mkfifo', [join(cwd, 'pipe')]).status, 0);
    const reading = readFile(join(cwd, 'pipe'), 'utf8');
    assert.equal((await runCli(['export', 'pipe'], { cwd, env })).code, 0);
    assert.equal(await reading, whole());
    assert(lstatSync(join(cwd, 'pipe')).isFIFO());
    assert.deepEqual(readdirSync(cwd).sort(), ['link', 'pipe', 'target.ndjson']);
    assert.match((await runCli(['export', '.'], { cwd, env })).stderr, /EISDIR/);
  });

  test('a part: by position, tenant and domain', async () => {
    const lines = whole().split('\n').slice(0, -1);
    const of = async (...args: string[]) => {
      const { code, stdout, stderr } = await runCli(['export', ...args], { cwd: source });
      assert.equal(code, 0, stderr);
      return stdout.split('\n').slice(0, -1).length;
    };
    assert.equal(await of('--from-position', '19997'), 4);
    assert.equal(await of('--from-position', '20001'), 0);
    const matching = (wanted: (event: { tenant?: string; domain: string }) => boolean) =>
      lines.filter((line) => wanted(JSON.parse(line))).length;
    assert.equal(
      await of('--tenant', 'acme', '--domain', 'stock'),
      matching((e) => e.tenant === 'acme' && e.domain === 'stock'),
    );
    assert.equal(
      await of('--tenant', ''),
      matching((e) => e.tenant === undefined),
    );
    const within = await runCli(['export', '--from-position', '2'], { cwd: source });
    assert.deepEqual([within.code, within.stdout], [1, '']);
    assert.equal(within.stderr, 'position 2 lies within a unit, and units are exported whole: begin at 1\n');
  });

  test('beside a running daemon, which an import is not', async () => {
    const cwd = fresh();
    const configured = { DAYBOOK__STORAGE__PATH: join(source, 'data/daybook.db') };
    const env = { ...configured, DAYBOOK__LISTEN__ADDRESS: '127.0.0.1:0', DAYBOOK__LISTEN__HEALTH: '127.0.0.1:0' };
    const { running } = await startDaemonProcess([], { cwd, env });
    assert.equal((await runCli(['export'], { cwd, env: configured })).stdout, whole());
    const refused = await runCli(['import', file], { cwd, env: configured });
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /^an import needs the log for itself: .*daybook\.db is open in another process/);
    assert.equal((await runCli(['import', '--dry-run', file], { cwd, env: configured })).code, 0);
    running.child.kill();
    assert.equal(await running.ended, 0);
  });

  test('a log in memory, or none, is told', async () => {
    const cwd = fresh();
    const memory = await runCli(['export'], { cwd, env: MEMORY });
    assert.deepEqual([memory.code, memory.stdout], [2, '']);
    assert.match(memory.stderr, /memory/);
    assert.equal((await runCli(['import', file], { cwd, env: MEMORY })).code, 2);
    const none = await runCli(['export'], { cwd });
    assert.equal(none.code, 1);
    assert.match(none.stderr, /daybook\.db/);
  });
});

describe('import', () => {
  test('from a file, again, and exported again byte by byte', async () => {
    const cwd = fresh();
    const first = await runCli(['import', file], { cwd });
    assert.equal(first.code, 0, first.stderr);
    assert.match(
      first.stdout,
      /^imported 20000 events in 5000 units in [\d.]+ s, \d+ a second; 0 were there before\n$/,
    );
    const again = await runCli(['import', '--json', file], { cwd });
    assert.deepEqual(JSON.parse(again.stdout), { events: 0, units: 0, known: EVENTS, dry_run: false });
    assert.equal(await exportedAgain(cwd), whole());
    assert.equal((await runCli(['verify'], { cwd })).code, 0);
  });

  test('through a pipe from one configuration into another', async () => {
    const cwd = fresh();
    writeFileSync(join(cwd, 'other.yaml'), 'storage:\n  type: sqlite\n  path: other/daybook.db\n');
    const { child, ended } = importing(cwd, '--config', 'other.yaml');
    startCli(['export'], { cwd: source }).child.stdout!.pipe(child.stdin);
    assert.deepEqual(await ended, { ended: 0, stderr: '' });
    assert.equal((await runCli(['export', '--config', 'other.yaml'], { cwd })).stdout, whole());
  });

  test('killed with -9 in the middle, and again: ends as if nothing had been', async () => {
    for (const least of [1, 6000, 14_000]) {
      const cwd = fresh();
      const { child, ended } = importing(cwd);
      // The rest of the file never comes, so that it is in the middle for certain.
      const bytes = readFileSync(file);
      child.stdin.write(bytes.subarray(0, Math.floor(bytes.length * 0.9)));
      const position = await eventually('some of it is stored', async () => {
        const found = await positionIn(cwd);
        return found >= least && found;
      });
      child.kill('SIGKILL');
      assert.equal((await ended).ended, 'SIGKILL');
      assert(position < EVENTS);
      const { stdout } = await runCli(['import', '--json', file], { cwd });
      const { events, known } = JSON.parse(stdout);
      assert.equal(events + known, EVENTS);
      assert(known >= position);
      assert.equal(await exportedAgain(cwd), whole());
      assert.equal((await runCli(['verify'], { cwd })).code, 0);
    }
  });

  test('interrupted while it waits for more: says how to go on', async () => {
    const cwd = fresh();
    const { child, ended } = importing(cwd);
    child.stdin.write(readFileSync(file).subarray(0, 2_000_000));
    await eventually('some of it is stored', async () => (await positionIn(cwd)) > 0);
    child.kill('SIGINT');
    assert.deepEqual(await ended, { ended: 130, stderr: 'interrupted: import the same events again to go on\n' });
  });

  test('a wrong line ends with 1 and a sentence; what is before it is stored', async () => {
    const cwd = fresh();
    const lines = whole().split('\n').slice(0, 12);
    writeFileSync(join(cwd, 'wrong.ndjson'), `${lines.with(9, '{"specversion":"1.0"}').join('\n')}\n`);
    const { code, stdout, stderr } = await runCli(['import', 'wrong.ndjson'], { cwd });
    assert.equal(code, 1);
    assert.match(stdout, /^imported 8 events in 2 units/);
    assert.equal(stderr, 'line 10: domain: expected a text, found nothing\n');
    const json = await runCli(['import', '--json', 'wrong.ndjson'], { cwd });
    assert.deepEqual(JSON.parse(json.stdout), { events: 0, units: 0, known: 8, fault: stderr.trim(), dry_run: false });
    const missing = await runCli(['import', 'missing.ndjson'], { cwd });
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /no such file/);
  });

  test('a dry run makes nothing', async () => {
    const cwd = fresh();
    const { code, stdout } = await runCli(['import', '--dry-run', '--json', file], { cwd });
    assert.deepEqual([code, JSON.parse(stdout)], [0, { events: EVENTS, units: 5000, known: 0, dry_run: true }]);
    assert.deepEqual(readdirSync(cwd), []);
  });
});
