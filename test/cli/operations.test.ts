// `daybook subscriptions`, `pause`, `resume`, `parked`, `rebuild` and `explain` against a daemon whose reactors fail when told to.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type Projector, packJson, type Saga, unpackJson, uuidText, uuidv7 } from '@daybook/client';
import { runCli } from '../support/cli.ts';
import { Counters, numberOf } from '../support/counters.ts';
import { eventually } from '../support/eventually.ts';

const broken = new Set<number>();
const seen: number[] = [];

const rows: Projector = {
  name: 'rows',
  domains: ['counter'],
  project(pages) {
    for (const { event } of pages) if (broken.has(numberOf(event))) throw new Error(`no row for ${numberOf(event)}`);
    seen.push(...pages.map(({ event }) => numberOf(event)));
    return [{ payload: packJson('Row', numberOf(pages.at(-1)!.event)) }];
  },
};
/** Other counters get the same, less 100. */
const teller: Saga = {
  name: 'teller',
  domains: ['counter'],
  react(event, { root }) {
    if (unpackJson(event)!.type === 'Told') return [];
    return [{ domain: 'other', root, payload: packJson('Add', numberOf(event) - 100) }];
  },
};

let counters: Counters;
beforeEach(() => broken.clear());
before(async () => {
  counters = await Counters.open({ projectors: [rows], sagas: [teller] });
});
after(() => counters[Symbol.asyncDispose]());

async function run(...args: string[]) {
  const { code, stdout, stderr } = await runCli([...args, '--address', counters.daemon.address]);
  return { code, stdout, stderr, lines: stdout.trimEnd().split('\n') };
}

/** Adds what `rows` cannot bear; resolves with the id of the dead letter. */
async function deadLetter(amount: number, root = uuidv7()): Promise<string> {
  broken.add(amount);
  await counters.add(amount, { root });
  return eventually('it is dead', async () => {
    const { deadLetters } = await counters.client.deadLetters.list({ subscription: 'rows', state: 'dead' });
    return deadLetters.find(({ message }) => message.includes(`no row for ${amount}`))?.id;
  });
}

describe('subscriptions', () => {
  test('in columns, and as JSON with their partitions', async () => {
    const { position } = await counters.add(200);
    await eventually('they have caught up', async () => {
      const { subscriptions } = await counters.client.control.listSubscriptions();
      return subscriptions.every(({ partitions }) => partitions.every((each) => each.position >= position));
    });
    const { code, lines } = await run('subscriptions');
    assert.equal(code, 0);
    assert.match(lines[0]!, /^NAME +KIND +GENERATION +STATE +POSITION +LAG +PARKED +DEAD$/);
    assert.match(lines[1]!, /^rows +projector +1 +running +\d+ +- +0 +0$/);
    assert.match(lines[2]!, /^teller +saga +1 +running +\d+ +- +0 +0$/);
    const { stdout } = await run('subscriptions', 'rows', '--json');
    const json = JSON.parse(stdout);
    assert.deepEqual(
      [json.name, json.kind, json.state, json.domains, json.partitions.length, json.lag_ms],
      ['rows', 'projector', 'running', ['counter'], 16, undefined],
    );
    assert(json.position >= position && json.head >= json.position);
    const unknown = await run('subscriptions', 'row');
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /^INVALID_ARGUMENT: subscriptions: there is no "row"; there are rows, teller\n$/);
  });

  test('pause and resume', async () => {
    const paused = await run('pause', 'rows');
    assert.deepEqual([paused.code, paused.lines], [0, ['rows is paused: it stands still until daybook resume rows']]);
    await counters.add(201);
    assert.match((await run('subscriptions', 'rows')).lines[1]!, /^rows +projector +1 +paused +\d+ +\d+ (ms|s) +0 +0$/);
    const resumed = await run('resume', 'rows');
    assert.deepEqual([resumed.code, resumed.lines], [0, ['rows goes on']]);
    await eventually('it goes on', () => seen.includes(201));
    assert.equal((await run('pause', 'nobody')).code, 1);
  });
});

describe('parked', () => {
  test('list shows what is held up, with ids that the other commands take', async () => {
    const root = uuidv7();
    const id = await deadLetter(301, root);
    const { code, lines } = await run('parked', 'list');
    assert.equal(code, 0);
    assert.match(lines[0]!, /^STATE +SUBSCRIPTION +KEY +POSITION +ATTEMPTS +SINCE +REASON +MESSAGE +ID$/);
    assert(lines[1]!.startsWith('dead '), lines[1]);
    assert(lines[1]!.includes(`counter/${uuidText(root)}`) && lines[1]!.endsWith(` ${id}`));
    assert.match(lines[1]!, /COMPONENT_FAULT +.*no row for 301/);
    const json = JSON.parse(
      (await run('parked', 'list', '--json', '--state', 'dead', '--subscription', 'rows')).stdout,
    );
    assert.deepEqual(
      [json.id, json.subscription, json.state, json.key, json.attempts, json.reason],
      [id, 'rows', 'dead', { domain: 'counter', root: uuidText(root) }, 3, 'COMPONENT_FAULT'],
    );
    for (const none of [
      ['--state', 'draining'],
      ['--tenant', 'acme'],
      ['--subscription', 'teller'],
    ]) {
      const { code, stdout, stderr } = await run('parked', 'list', ...none);
      assert.deepEqual([code, stdout, stderr], [0, '', 'nothing is held up\n'], none.join(' '));
    }

    const shown = await run('parked', 'show', id);
    assert.equal(shown.code, 0);
    assert.match(shown.stdout, /^state +dead: waits for replay or discard$/m);
    assert.match(shown.stdout, new RegExp(`^failed +the event counter/${uuidText(root)}#0 +Added 301$`, 'm'));
    assert.match(shown.stdout, /^waiting +0 behind it$/m);
    const whole = JSON.parse((await run('parked', 'show', id, '--json')).stdout);
    assert.deepEqual([whole.waiting, whole.events[0].event.payload], [0, 301]);

    broken.delete(301);
    const replayed = await run('parked', 'replay', id);
    assert.deepEqual([replayed.code, replayed.lines], [0, ['one is tried again now']]);
    await eventually('it is handled', () => seen.includes(301));
    const gone = await run('parked', 'show', id);
    assert.equal(gone.code, 1);
    assert.match(gone.stderr, /^NOT_FOUND: there is no such dead letter/);
  });

  test('replay --all takes a whole subscription, and discard gives one up', async () => {
    for (const amount of [302, 303]) await deadLetter(amount);
    const id = await deadLetter(304);
    const limited = await run('parked', 'list', '--limit', '2');
    assert.equal(limited.lines.length, 3);
    assert.equal(limited.stderr, 'only the first 2 of 3 are shown; --limit takes another number\n');
    const discarded = await run('parked', 'discard', id, '--reason', 'a test of discarding');
    assert.deepEqual([discarded.code, discarded.lines], [0, ['given up: what waited behind it goes on']]);
    assert(counters.daemon.logLines.some((line) => line.includes('a test of discarding')));
    broken.clear();
    const replayed = await run('parked', 'replay', '--all', 'rows', '--json');
    assert(JSON.parse(replayed.stdout).replayed >= 2);
    await eventually('they are handled', () => seen.includes(302) && seen.includes(303));
    assert.equal(seen.includes(304), false);
  });

  test('what makes no sense is told, and ends with 2', async () => {
    const wrong: [string[], RegExp][] = [
      [['replay'], /expected either an id or --all <subscription>/],
      [['replay', 'x', '--all', 'rows'], /expected either an id or --all <subscription>/],
      [['discard', 'x'], /--reason/],
      [['discard', 'x', '--reason', ''], /--reason: expected a sentence/],
      [['list', '--state', 'lost'], /--state/],
      [['list', '--subscription', ''], /--subscription: expected a name/],
    ];
    for (const [args, sentence] of wrong) {
      const { code, stderr } = await run('parked', ...args);
      assert.equal(code, 2, args.join(' '));
      assert.match(stderr, sentence);
    }
    assert.match((await run('parked', 'show', 'x')).stderr, /^INVALID_ARGUMENT: id: expected one from an answer/);
  });
});

describe('rebuild', () => {
  test('tells its progress, and ends when readers get the new rows', async () => {
    const { code, lines, stderr } = await run('rebuild', 'rows');
    assert.equal(code, 0);
    assert.match(stderr, /^rows: generation 2 at position \d+ of \d+ \(\d+ %\), \d+ a second/);
    assert.equal(lines.length, 1);
    assert.match(lines[0]!, /^rows: readers get generation 2, at position \d+$/);
    const json = (await run('rebuild', 'rows', '--from', 'now', '--json')).lines.map((line) => JSON.parse(line));
    const end = json.at(-1)!;
    assert.deepEqual([end.projector, end.generation, end.switched, end.parked], ['rows', 3, true, 0]);
    const { projections } = await counters.client.projections.list({ projector: 'rows' });
    assert.deepEqual(projections, []);
    for (const from of ['1', '2026-01-31T12:00:00Z'])
      assert.equal((await run('rebuild', 'rows', '--from', from)).code, 0);
  });

  test('is refused for what is no projector, or no place', async () => {
    const saga = await run('rebuild', 'teller');
    assert.equal(saga.code, 1);
    assert.match(saga.stderr, /^INVALID_ARGUMENT: projector: teller is a saga/);
    for (const from of ['0', 'yesterday', '2026-13-77']) {
      const { code, stderr } = await run('rebuild', 'rows', '--from', from);
      assert.equal(code, 2, from);
      assert.match(stderr, /^--from: expected/);
    }
  });
});

describe('explain', () => {
  test('what reactions did, and what was refused them, hangs under the event that caused it', async () => {
    const root = uuidv7();
    await counters.add(150, { root, correlationId: 'a chain' });
    await counters.add(50, { root, correlationId: 'a chain' });
    const told = await eventually('everything has followed', async () => {
      const { stdout } = await run('explain', 'a chain', '--json');
      return stdout.includes('Told') ? stdout : undefined;
    });
    const { decisions } = JSON.parse(told);
    assert.equal(decisions.length, 2);
    const [done] = decisions[0].events[0].decisions;
    assert.deepEqual(
      [done.domain, done.component, done.commands, done.events[0].event.payload],
      ['other', 'teller', ['daybook.v1.Json'], 50],
    );
    const effects: { domain: string; component: string; rejection?: { code: string } }[] =
      decisions[1].events[0].decisions;
    const refused = effects.find(({ rejection }) => rejection !== undefined)!;
    assert.deepEqual([refused.domain, refused.component, refused.rejection!.code], ['other', 'teller', 'NEGATIVE']);
    const notified = effects.find(({ rejection }) => rejection === undefined)!;
    assert.deepEqual([notified.domain, notified.component], ['counter', 'teller']);

    const { lines } = await run('explain', 'a chain');
    const short = `${uuidText(root).slice(0, 8)}…${uuidText(root).slice(-4)}`;
    assert(
      lines.some((line) => /^ +[├└]─ /.test(line) && line.includes(`other/${short}`) && line.includes('  by teller')),
      lines.join('\n'),
    );
    assert(
      lines.some((line) => /^ +[├└]─ /.test(line) && line.includes('  by teller  ✗ NEGATIVE: expected 0 or more')),
      lines.join('\n'),
    );
  });
});
