import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { DaybookError } from '../../src/errors.ts';
import type { CommandBook, EventBook, EventPage } from '../../src/model/book.ts';
import type { SagaRequest, SagaResponse } from '../../src/model/reaction.ts';
import { hex } from '../../src/model/stream.ts';
import type { Store } from '../../src/store.ts';
import { InProcessAccount } from '../support/account.ts';
import { any, command, eventBook, eventPage, newRoot, textOf } from '../support/books.ts';
import { manualRuntime } from '../support/clock.ts';
import { deposits, memory, outboxOf, parked, roots, STORES } from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { mortal } from '../support/mortal-store.ts';
import { type Random, seeded } from '../support/random.ts';
import { TestReactor, World } from '../support/world.ts';

const seed = Number(process.env.DAYBOOK_TEST_SEED ?? Math.floor(Math.random() * 1e9));

/** Notes whatever it is told: `Note` becomes `Noted`. */
function notebook(domain: string): InProcessAccount {
  const account = new InProcessAccount(domain);
  account.before = async ({ command: { pages } }) => ({
    kind: 'events',
    book: eventBook(pages.map((page) => any('Noted', textOf(page.command)))),
  });
  return account;
}

const note = (domain: string, root: Uint8Array, text: string): CommandBook =>
  command(root, any('Note', text), { domain });

/** Of a few roots, always the same for the same text. */
const rootFor = (text: string, among = 5): Uint8Array => {
  const [first] = createHash('sha1').update(text).digest();
  return new Uint8Array(16).fill(1 + (first! % among));
};

async function everything(store: Store, domain: string): Promise<{ book: EventBook; page: EventPage }[]> {
  const found: { book: EventBook; page: EventPage }[] = [];
  for (let after = 0; ; ) {
    const read = await store.readLog({ after, filter: { domains: [domain] }, maxEvents: 10_000, maxBytes: 1 << 24 });
    for (const book of read.books) for (const page of book.pages) found.push({ book, page });
    if (read.through === after) return found;
    after = read.through;
  }
}

async function settled(world: World, name: string): Promise<boolean> {
  const { position } = await world.store.head();
  const cursors = await world.store.listCursors(name);
  if (cursors.length === 0 || cursors.some((cursor) => cursor.position < position)) return false;
  return (await parked(world, name)).length === 0 && (await outboxOf(world.store, name)).length === 0;
}

/** Answers with zero to two commands, differently each time, and remembers what it said. */
function moody(random: Random) {
  let calls = 0;
  const silent = new Set<number>();
  const handler = async ({ source }: SagaRequest): Promise<SagaResponse> => {
    const call = ++calls;
    const { position } = source!.pages[0]!;
    for (let n = Math.floor(random() * 4); n > 0; n--) await new Promise((resolve) => setImmediate(resolve));
    if (random() < 0.02) throw new Error('bad luck');
    const count = Math.floor(random() * 3);
    if (count === 0) silent.add(position);
    const commands = Array.from({ length: count }, (_, i) =>
      note('ledger', rootFor(`${call} ${i}`), [position, call, i, count].join(' ')),
    );
    return { commands, events: [] };
  };
  return { handler, silent };
}

describe(`sagas (DAYBOOK_TEST_SEED=${seed})`, () => {
  for (const [kind, open] of Object.entries(STORES))
    test(`traps 14, 22, 24, 40: daemons that die at any instant have every event answered exactly once (${kind})`, async () => {
      const random = seeded(seed);
      await using opened = await open();
      const { store } = opened;
      const rounds = kind === 'memory' ? 25 : 10;
      const { handler, silent } = moody(random);
      const sources = roots(20);
      const expected = 10;
      let deaths = 0;
      for (let round = 0; round < rounds; round++) {
        const mind = mortal(store, 40 + Math.floor(random() * 300), random() < 0.5);
        const accounts = [new InProcessAccount(), notebook('ledger')];
        const reactors = [new TestReactor('saga', 'book', handler, { domains: ['account'] })];
        const options = { accounts, reactors, instance: 'one', limits: { reactionAttempts: 1000 } };
        const world = await World.open({ ...options, store: mind.store, signal: mind.signal }).catch(() => undefined);
        if (world === undefined) continue;
        const load = deposits(world, sources, expected, random, { atOnce: 8 }).catch(() => {});
        await eventually('it dies, or has nothing to do', async () => {
          return mind.dead || (await settled(world, 'book').catch(() => true));
        });
        mind.die();
        deaths++;
        await world.engine.drain(0);
        world.engine.close();
        await Promise.race([load, new Promise((resolve) => setTimeout(resolve, 20))]);
      }
      assert(deaths > 2);

      const accounts = [new InProcessAccount(), notebook('ledger')];
      const reactors = [new TestReactor('saga', 'book', handler, { domains: ['account'] })];
      await using world = await World.open({ store, accounts, reactors, instance: 'one' });
      await deposits(world, sources, 2, random);
      await eventually('everything is answered', () => settled(world, 'book'), 20_000);
      const answers = new Map<number, string[][]>();
      for (const { page } of await everything(store, 'ledger')) {
        const words = textOf(page.event).split(' ');
        answers.set(Number(words[0]), [...(answers.get(Number(words[0])) ?? []), words]);
        assert.equal(page.origin?.sourcePosition, Number(words[0]));
      }
      const events = await everything(store, 'account');
      assert(events.length > 40);
      for (const { page } of events) {
        const said = answers.get(page.position) ?? [];
        if (said.length === 0) assert(silent.has(page.position), `position ${page.position} was not answered`);
        else {
          assert.equal(new Set(said.map(([, call]) => call)).size, 1, `two answers to ${page.position}: ${said}`);
          assert.equal(said.length, Number(said[0]![3]), `answers to ${page.position}: ${said.join('; ')}`);
        }
      }
      for (const cursor of await store.listCursors('book')) assert.deepEqual(await store.listDone(cursor), []);
    });

  test('a rejected command comes back to the aggregate whose event caused it', async () => {
    const told: unknown[] = [];
    const source = new InProcessAccount();
    source.before = async ({ command: { pages, origin } }) => {
      if (!pages[0]!.command!.typeUrl.endsWith('RejectionNotification')) return undefined;
      told.push(origin?.component);
      return { kind: 'events', book: eventBook([any('Deposited', '0')]) };
    };
    const target = new InProcessAccount('vault');
    const saga = new TestReactor<'saga'>(
      'saga',
      's',
      ({ source }) => ({
        commands:
          source!.pages[0]!.sequence === 0 ? [command(newRoot(), any('Withdraw', '5'), { domain: 'vault' })] : [],
        events: [],
      }),
      { domains: ['account'] },
    );
    await using world = await World.open({ store: memory(), accounts: [source, target], reactors: [saga] });
    const { events } = await world.deposit();
    const root = events!.cover!.root!.value;
    await eventually('it is told', async () => {
      const stream = { tenant: '', domain: 'account', root };
      return (await world.store.readStream(stream, { from: 0, maxBytes: 1000 })).nextSequence === 2;
    });
    assert.deepEqual(told, ['s']);
    await eventually('no output is left', () => settled(world, 's'));
    const outcomes = await world.store.listOutcomes({
      tenant: '',
      correlationId: events!.cover!.correlationId,
      limit: 10,
    });
    assert.equal(outcomes.length, 1, 'the rejection can be found');
  });

  test('trap 24: two commands of one event that are both rejected are told and remembered as two', async () => {
    const source = new InProcessAccount();
    let told = 0;
    source.before = async ({ command: { pages } }) => {
      if (!pages[0]!.command!.typeUrl.endsWith('RejectionNotification')) return undefined;
      told++;
      return { kind: 'events', book: eventBook([any('Told')]) };
    };
    const saga = new TestReactor<'saga'>(
      'saga',
      's',
      () => ({
        commands: roots(2).map((root) => command(root, any('Withdraw', '5'), { domain: 'vault' })),
        events: [],
      }),
      { domains: ['account'], types: ['account.Deposited'] },
    );
    const accounts = [source, new InProcessAccount('vault')];
    await using world = await World.open({ store: memory(), accounts, reactors: [saga] });
    const { events } = await world.deposit();
    await eventually('both are told', () => told === 2);
    await eventually('no output is left', () => settled(world, 's'));
    const { correlationId } = events!.cover!;
    assert.equal((await world.store.listOutcomes({ tenant: '', correlationId, limit: 10 })).length, 2);
  });

  test('trap 25: a notification that is refused becomes a dead letter in the same unit, also when it is replayed', async () => {
    const source = new InProcessAccount();
    let asked = 0;
    source.before = async ({ command: { pages } }) => {
      if (!pages[0]!.command!.typeUrl.endsWith('RejectionNotification')) return undefined;
      asked++;
      const page = 0;
      return { kind: 'rejection', rejection: { kind: 2, code: 'NO', message: 'not me', details: undefined, page } };
    };
    const saga = new TestReactor<'saga'>(
      'saga',
      's',
      () => ({ commands: [command(newRoot(), any('Withdraw', '5'), { domain: 'vault' })], events: [] }),
      { domains: ['account'] },
    );
    const accounts = [source, new InProcessAccount('vault')];
    await using world = await World.open({ store: memory(), accounts, reactors: [saga] });
    await world.deposit();
    const dead = async () => {
      const [row] = await outboxOf(world.store, 's');
      return row?.state === 'dead' && row;
    };
    const row = await eventually('a dead letter', dead);
    assert.deepEqual([row.kind, row.reason, asked], ['notification', 'REJECTED', 1]);
    assert.match(row.message, /not me/);

    const work = { fences: [], cursors: [], done: [], parked: [], outboxAdded: [], timers: [], timersEnded: [] };
    const again = { ...row, state: 'ready', attempts: 0, dueAtMicros: await world.store.now() } as const;
    const outboxChanged = [{ key: row, version: row.version, row: again }];
    const nothing = { appends: [], expectations: [], snapshots: [], outcomes: [] };
    const unitId = new Uint8Array(crypto.getRandomValues(new Uint8Array(16)));
    await world.store.commit([{ unitId, ...nothing, work: { ...work, outboxChanged, projections: [] } }]);
    await world.engine.delivery.replayed('s');
    await eventually('refused again', async () => asked === 2 && (await dead()));
  });

  test('facts of a saga are recorded once, and nothing is left in the outbox', async () => {
    const saga = new TestReactor<'saga'>(
      'saga',
      's',
      ({ source }) => {
        const cover = {
          root: { value: rootFor(hex(source!.cover!.root!.value)) },
          domain: 'vault',
          correlationId: '',
          tenant: '',
        };
        return { commands: [], events: [{ ...eventBook([any('Seen', String(source!.pages[0]!.position))]), cover }] };
      },
      { domains: ['account'] },
    );
    const accounts = [new InProcessAccount(), new InProcessAccount('vault')];
    await using world = await World.open({ store: memory(), accounts, reactors: [saga] });
    await deposits(world, roots(10), 10, seeded(seed));
    await eventually('all is recorded', () => settled(world, 's'));
    const facts = (await everything(world.store, 'vault')).map(({ page }) => Number(textOf(page.event)));
    const positions = (await everything(world.store, 'account')).map(({ page }) => page.position);
    assert.deepEqual(
      facts.sort((a, b) => a - b),
      positions,
    );
  });

  test('trap 56: a command that fails for ever blocks its own lane alone', async () => {
    const hot = newRoot();
    const target = notebook('vault');
    const { before } = target;
    target.before = async (request) => {
      if (textOf(request.command.pages[0]!.command) === 'poison') throw new DaybookError('COMPONENT_FAULT', 'poison');
      return before!(request);
    };
    const name = (page: EventPage) => (textOf(page.event) === '13' ? 'poison' : textOf(page.event));
    const saga = (domain: string) =>
      new TestReactor<'saga'>(
        'saga',
        domain,
        ({ source }) => ({ commands: [note('vault', hot, name(source!.pages[0]!))], events: [] }),
        // So few that some sources share one with the unlucky one.
        { domains: ['account'], partitions: 2 },
      );
    const accounts = [new InProcessAccount(), target];
    const reactors = [saga('one'), saga('two')];
    const limits = { reactionAttempts: 3 };
    await using world = await World.open({ store: memory(), accounts, reactors, limits });
    const [unlucky, ...others] = roots(11) as [Uint8Array, ...Uint8Array[]];
    await world.deposit(unlucky, 13);
    await world.deposit(unlucky, 14);
    for (const root of others) await world.deposit(root, 1);
    const rows = await eventually('the two sagas have a dead letter each', async () => {
      const found = await outboxOf(world.store);
      return found.filter(({ state }) => state === 'dead').length === 2 && found.length === 4 && found;
    });
    assert.deepEqual(
      rows.map(({ state, attempts }) => `${state} ${attempts}`),
      ['dead 3', 'ready 0', 'dead 3', 'ready 0'],
    );
    const noted = (await everything(world.store, 'vault')).map(({ page }) => textOf(page.event));
    assert.deepEqual(noted, Array(20).fill('1'));
  });

  test('outputs for a target that is away wait, are not counted, and go when it is back', async () => {
    const target = notebook('vault');
    const { before } = target;
    let away = true;
    target.before = async (request) => {
      if (away) throw new DaybookError('COMPONENT_UNAVAILABLE', 'away');
      return before!(request);
    };
    const saga = new TestReactor<'saga'>(
      'saga',
      's',
      ({ source }) => ({
        commands: [note('vault', source!.cover!.root!.value, textOf(source!.pages[0]!.event))],
        events: [],
      }),
      { domains: ['account'] },
    );
    const accounts = [new InProcessAccount(), target];
    await using world = await World.open({
      store: memory(),
      accounts,
      reactors: [saga],
      limits: { reactionAttempts: 1 },
    });
    const all = roots(100);
    await deposits(world, all, 3, seeded(seed));
    await eventually('all of it waits', async () => (await outboxOf(world.store, 's')).length === 300);
    const before_ = target.asked;
    const began = performance.now();
    await eventually('a while', () => performance.now() - began > 500);
    assert(target.asked - before_ < 500, `${target.asked - before_} tries in half a second`);
    assert((await outboxOf(world.store, 's')).every(({ attempts, state }) => attempts === 0 && state === 'ready'));
    away = false;
    await eventually('all of it has gone', () => settled(world, 's'));
    assert.equal((await everything(world.store, 'vault')).length, 300);
  });

  test('many outputs for a target that is away hold up nothing for another', async () => {
    const away = notebook('vault');
    away.before = async () => {
      throw new DaybookError('COMPONENT_UNAVAILABLE', 'away');
    };
    const saga = new TestReactor<'saga'>(
      'saga',
      's',
      ({ source }) => {
        const domain = textOf(source!.pages[0]!.event) === '1' ? 'vault' : 'ledger';
        return { commands: [note(domain, source!.cover!.root!.value, 'x')], events: [] };
      },
      { domains: ['account'], partitions: 2 },
    );
    const accounts = [new InProcessAccount(), away, notebook('ledger')];
    await using world = await World.open({ store: memory(), accounts, reactors: [saga] });
    await deposits(world, roots(700), 1, seeded(seed));
    await eventually('all of it waits', async () => (await outboxOf(world.store, 's')).length === 700);
    await world.deposit(newRoot(), 2);
    await world.deposit(newRoot(), 2);
    await eventually('the others go', async () => (await everything(world.store, 'ledger')).length === 2);
    assert((await outboxOf(world.store, 's')).every(({ attempts }) => attempts === 0));
  });

  test('an output that failed is tried again when it is due, also while another waits for its answer', async () => {
    const runtime = manualRuntime();
    const store = memory(runtime.nowMicros);
    const [slow, flaky] = roots(2);
    let failures = 0;
    const { promise: answer, resolve: release } = Promise.withResolvers<void>();
    const vault = notebook('vault');
    const noted = vault.before!;
    vault.before = async (request) => {
      if (request.streamText.endsWith(hex(slow!))) await answer;
      else if (failures++ === 0) throw new DaybookError('COMPONENT_FAULT', 'not yet');
      return noted(request);
    };
    const saga = new TestReactor<'saga'>(
      'saga',
      's',
      () => ({ commands: [slow!, flaky!].map((root) => note('vault', root, 'x')), events: [] }),
      { domains: ['account'] },
    );
    const world = await World.open({
      store,
      runtime,
      accounts: [new InProcessAccount(), vault],
      reactors: [saga],
      limits: { reactionRetryMinMs: 200, reactionRetryMaxMs: 400, componentTimeoutMs: 60_000 },
    });
    await world.deposit();
    await runtime.advance(1000);
    assert.equal(failures, 2);
    assert.equal((await everything(store, 'vault')).length, 1);
    release();
    await runtime.advance(100);
    assert.equal((await everything(store, 'vault')).length, 2);
    const stopped = world.stop();
    await runtime.advance(100);
    await stopped;
  });

  test('a command for a domain that nobody ever served becomes a dead letter after the attempts', async () => {
    const saga = new TestReactor<'saga'>(
      'saga',
      's',
      () => ({ commands: [note('nowhere', newRoot(), 'x')], events: [] }),
      { domains: ['account'] },
    );
    await using world = await World.open({ store: memory(), reactors: [saga], limits: { reactionAttempts: 3 } });
    await world.deposit();
    const row = await eventually('a dead letter', async () => {
      const [found] = await outboxOf(world.store, 's');
      return found?.state === 'dead' && found;
    });
    assert.deepEqual([row.attempts, row.reason], [3, 'UNKNOWN_DOMAIN']);
  });

  for (const depth of [20, 1000]) {
    test(`two sagas that answer each other end as a dead letter at a depth of ${depth}`, async () => {
      const saga = (name: string, from: string, to: string) =>
        new TestReactor<'saga'>(
          'saga',
          name,
          () => ({ commands: [note(to, new Uint8Array(16).fill(7), 'again')], events: [] }),
          { domains: [from] },
        );
      const accounts = [notebook('ping'), notebook('pong')];
      const reactors = [saga('there', 'ping', 'pong'), saga('back', 'pong', 'ping')];
      const limits = { reactionDepth: depth };
      await using world = await World.open({ store: memory(), accounts, reactors, limits });
      await world.execute(note('ping', new Uint8Array(16).fill(7), 'go'));
      const [row, ...others] = await eventually(
        'a dead letter',
        async () => {
          const rows = await outboxOf(world.store);
          return rows.some(({ state }) => state === 'dead') && rows;
        },
        20_000,
      );
      assert.deepEqual(others, []);
      assert.match(row!.message, new RegExp(`more than ${depth} deep`));
      assert.equal((await world.store.head()).position, depth + 1);
    });
  }

  test('a saga whose commands carry a sequence, or leave their tenant, is at fault', async () => {
    const saga = new TestReactor<'saga'>(
      'saga',
      's',
      () => ({
        commands: [command(newRoot(), any('Deposit', '1'), { sequence: 0 })],
        events: [{ ...eventBook([]), pages: [eventPage(any('X'))] }],
      }),
      { domains: ['account'] },
    );
    await using world = await World.open({ store: memory(), reactors: [saga], limits: { reactionAttempts: 2 } });
    await world.deposit();
    const row = await eventually('a dead letter', async () => {
      const [found] = await parked(world, 's');
      return found?.state === 'dead' && found;
    });
    assert.match(row.message, /carries no sequence/);
  });
});
