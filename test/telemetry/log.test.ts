import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Secret } from '../../src/config.ts';
import { type LogOptions, openLog } from '../../src/telemetry/log.ts';

async function logTo(options: Partial<LogOptions> = {}) {
  const lines: string[] = [];
  const log = await openLog({
    level: 'info',
    stream: { write: (line) => lines.push(line) },
    pretty: false,
    ...options,
  });
  return { log, lines, last: () => JSON.parse(lines.at(-1)!) };
}

test('one JSON object a line', async () => {
  const { log, lines, last } = await logTo();
  log.info({ domain: 'order' }, 'a line\nbreak');
  assert.equal(lines.length, 1);
  assert.match(lines[0]!, /^[^\n]+\n$/);
  const { time, ...rest } = last();
  assert.deepEqual(rest, { level: 'info', domain: 'order', msg: 'a line\nbreak' });
  assert(Math.abs(Date.parse(time) - Date.now()) < 60_000);
});

test('an error comes with its stack and its cause', async () => {
  const { log, last } = await logTo();
  log.error({ err: new Error('outside', { cause: new Error('inside') }) }, 'failed');
  assert.match(last().err.message, /outside.*inside/);
  assert.match(last().err.stack, /log\.test\.ts/);
});

test('a change of the level reaches children', async () => {
  const { log, lines, last } = await logTo();
  const child = log.child({ component: 'shop' }).child({ domain: 'order' });
  child.debug({}, 'not yet');
  log.level = 'debug';
  child.debug({ root: 1 }, 'now');
  assert.equal(lines.length, 1);
  assert.deepEqual(
    { ...last(), time: 0 },
    { level: 'debug', time: 0, component: 'shop', domain: 'order', root: 1, msg: 'now' },
  );
  child.level = 'error';
  log.info({}, 'no more');
  assert.equal(lines.length, 1);
});

test('secrets do not appear', async () => {
  const { log, lines } = await logTo();
  log.info({ password: 'hunter2', store: { connectionString: 'hunter2' }, headers: { authorization: 'hunter2' } }, 'a');
  log.info({ url: new Secret('hunter2') }, 'b');
  log.error({ err: new Error('cannot reach postgres://daybook:hunter2@db:5432/x') }, 'no amqp://u:hunter2@mq');
  assert.equal(lines.length, 3);
  for (const line of lines) {
    assert(!line.includes('hunter2'), line);
    assert(line.includes('(secret)'), line);
    JSON.parse(line);
  }
});

test('readable for people', async () => {
  const { log, lines } = await logTo({ pretty: true });
  log.warn({ domain: 'order' }, 'careful');
  assert.match(lines.join(''), /WARN: careful\n\s+domain: "order"/);
});
