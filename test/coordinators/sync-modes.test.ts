// SIMPLE and CASCADE as their callers see them: nothing runs differently, only the answer waits.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Reactor } from '../../src/component.ts';
import type { Limits } from '../../src/config.ts';
import { completeCommand } from '../../src/coordinators/answers.ts';
import type { WaitingMode } from '../../src/coordinators/following.ts';
import type { CommandBook, CommandResponse } from '../../src/model/book.ts';
import type { SagaRequest, SagaResponse } from '../../src/model/reaction.ts';
import { systemRuntime } from '../../src/runtime.ts';
import { InProcessAccount } from '../support/account.ts';
import { any, command, newRoot, textOf, typeOf } from '../support/books.ts';
import { memory, summing } from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { TestReactor, World } from '../support/world.ts';

const runtime = systemRuntime();

async function opened(reactors: readonly unknown[], limits: Partial<Limits> = {}, store = memory()) {
  const accounts = [new InProcessAccount(), new InProcessAccount('stock')];
  const world = await World.open({ store, reactors: reactors as Reactor[], accounts, limits });
  const sync = (mode: WaitingMode, book: CommandBook, waitMs = 10_000): Promise<CommandResponse> => {
    completeCommand(book, runtime);
    const caller = { deadlineMs: Infinity, signal: new AbortController().signal };
    return world.engine.sync.execute(book, mode, waitMs, caller);
  };
  return { world, sync, [Symbol.asyncDispose]: () => world.stop() };
}

const deposit = (root = newRoot(), amount = '5') => command(root, any('Deposit', amount));

/** Answers each deposit to an account with one to the stock of the same root; more with `Withdraw`. */
function reserving(request: SagaRequest, payload = any('Deposit', '1'), root?: Uint8Array): SagaResponse {
  const book = command(root ?? request.source!.cover!.root!.value, payload, { domain: 'stock' });
  return { commands: [book], events: [] };
}

function gate() {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { wait: promise, open: resolve };
}

describe('with the saga held at a barrier', () => {
  test('NONE and SIMPLE return, SIMPLE with the projection; CASCADE waits until what it leads to is projected', async () => {
    const barrier = gate();
    const orders = new TestReactor('projector', 'orders', summing, { domains: ['account'] });
    const stock = new TestReactor('projector', 'stock-levels', summing, { domains: ['stock'] });
    const saga = new TestReactor(
      'saga',
      'fulfilment',
      async (request) => {
        await barrier.wait;
        return reserving(request);
      },
      { domains: ['account'] },
    );
    await using opening = await opened([orders, stock, saga]);
    const { world, sync } = opening;
    const none = await world.deposit();
    assert.deepEqual([none.settled, none.projections], [true, []]);

    const simple = await sync('simple', deposit());
    assert.equal(simple.settled, true);
    assert.deepEqual(
      simple.projections.map(({ projector, projection }) => [projector, textOf(projection)]),
      [['orders', '1 5']],
    );

    let answered = false;
    const cascade = sync('cascade', deposit()).then((answer) => {
      answered = true;
      return answer;
    });
    await eventually('the saga holds all three', () => saga.inHand === 3);
    const early = await sync('cascade', deposit(), 30);
    assert.deepEqual([early.settled, early.events!.pages.length], [false, 1]);
    assert.equal(answered, false);

    barrier.open();
    const settled = await cascade;
    assert.deepEqual([settled.settled, settled.reactionErrors], [true, []]);
    assert.deepEqual(
      settled.projections.map(({ projector, projection }) => [projector, textOf(projection)]),
      [
        ['orders', '1 5'],
        ['stock-levels', '1 1'],
      ],
    );
  });
});

describe('CASCADE', () => {
  test('a reaction that fails twice and then succeeds is no error', async () => {
    let tries = 0;
    const saga = new TestReactor(
      'saga',
      'fulfilment',
      (request) => {
        if (++tries <= 2) throw new Error('not yet');
        return reserving(request);
      },
      { domains: ['account'] },
    );
    await using opening = await opened([saga]);
    const answer = await opening.sync('cascade', deposit());
    assert.deepEqual([answer.settled, answer.reactionErrors, tries], [true, [], 3]);
  });

  test('a dead reaction is exactly one error, and names the event', async () => {
    const saga = new TestReactor('saga', 'fulfilment', () => {
      throw new Error('never');
    });
    await using opening = await opened([saga]);
    const answer = await opening.sync('cascade', deposit());
    assert.equal(answer.settled, true);
    const [error, ...others] = answer.reactionErrors;
    assert.deepEqual(others, []);
    assert.deepEqual(
      [error!.component, error!.reason, error!.message, error!.sourcePosition],
      ['fulfilment', 'COMPONENT_FAULT', 'never', answer.position],
    );
  });

  test('a step that stays parked ends the wait for its branch', async () => {
    const saga = new TestReactor('saga', 'fulfilment', () => {
      throw new Error('later');
    });
    const limits = { reactionRetryMinMs: 60_000, reactionRetryMaxMs: 60_000 };
    await using opening = await opened([saga], limits);
    const answer = await opening.sync('cascade', deposit());
    assert.deepEqual([answer.settled, answer.reactionErrors.map(({ message }) => message)], [true, ['later']]);
  });

  test('a rejected command is one error, and its source hears of it', async () => {
    const saga = new TestReactor('saga', 'fulfilment', (request) => reserving(request, any('Withdraw', '9')), {
      domains: ['account'],
      types: ['account.Deposited'],
    });
    await using opening = await opened([saga]);
    const { world, sync } = opening;
    const [account] = world.accounts;
    const notified: string[] = [];
    account!.before = async ({ command: book }) => {
      const [page] = book.pages;
      if (!page!.command!.typeUrl.endsWith('/daybook.v1.RejectionNotification')) return undefined;
      notified.push(page!.command!.typeUrl);
      return { kind: 'events', book: { ...(await nothing()), pages: [] } };
    };
    const answer = await sync('cascade', deposit());
    assert.equal(answer.settled, true);
    assert.deepEqual(
      answer.reactionErrors.map(({ component, reason, message, target }) => [
        component,
        reason,
        message,
        target!.domain,
      ]),
      [['fulfilment', 'REJECTED', 'INSUFFICIENT_FUNDS: a balance of 0 does not cover 9', 'stock']],
    );
    assert.equal(notified.length, 1);
  });

  test('trap 45: a saga that sends a command to the very aggregate that waits settles', async () => {
    const saga = new TestReactor(
      'saga',
      'echo',
      ({ source }) => ({
        commands: [command(source!.cover!.root!.value, any('Withdraw', '1'))],
        events: [],
      }),
      { domains: ['account'], types: ['account.Deposited'] },
    );
    await using opening = await opened([saga]);
    const root = newRoot();
    const answer = await opening.sync('cascade', deposit(root));
    assert.deepEqual([answer.settled, answer.reactionErrors], [true, []]);
    const { pages } = await opening.world.engine.query.eventBook(
      { tenant: '', domain: 'account', root },
      { kind: 'current' },
      1 << 20,
    );
    assert.deepEqual(
      pages.map(({ event }) => typeOf(event)),
      ['Deposited', 'Withdrawn'],
    );
  });

  test('trap 46: a chain of reactions is followed to its end', async () => {
    const chain = new TestReactor(
      'saga',
      'chain',
      ({ source }) => {
        const left = Number(textOf(source!.pages[0]!.event)) - 1;
        if (left === 0) return { commands: [], events: [] };
        return { commands: [command(newRoot(), any('Deposit', String(left)))], events: [] };
      },
      { domains: ['account'] },
    );
    const seen = new TestReactor('projector', 'seen', summing);
    await using opening = await opened([chain, seen]);
    for (let i = 0; i < 5; i++) {
      const answer = await opening.sync('cascade', deposit(newRoot(), '6'));
      assert.equal(answer.settled, true);
      assert.deepEqual(answer.projections.map(({ projection }) => textOf(projection)).sort(), [
        '1 1',
        '1 2',
        '1 3',
        '1 4',
        '1 5',
        '1 6',
      ]);
    }
  });

  test('trap 46: a saga that answers just after somebody looked at the outbox is not taken for settled', async () => {
    const inner = memory();
    const [saga, target] = [gate(), gate()];
    let looks = 0;
    const answered = async () => (await inner.listOutbox({ subscription: 'fulfilment', limit: 1 })).length > 0;
    const store = new Proxy(inner, {
      get(of, name) {
        const value = Reflect.get(of, name);
        if (typeof value !== 'function') return value;
        if (name !== 'listOutbox' || looks > 0) return value.bind(of);
        return async (query: Parameters<typeof inner.listOutbox>[0]) => {
          const found = await of.listOutbox(query);
          looks++;
          saga.open();
          await eventually('the saga has answered', answered);
          return found;
        };
      },
    });
    const reactor = new TestReactor(
      'saga',
      'fulfilment',
      async (request) => {
        await saga.wait;
        return reserving(request);
      },
      { domains: ['account'] },
    );
    await using opening = await opened([reactor], {}, store);
    opening.world.accounts[1]!.before = async () => {
      await target.wait;
      return undefined;
    };
    let settled = false;
    const answer = opening.sync('cascade', deposit()).finally(() => {
      settled = true;
    });
    const turns = async () => {
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    };
    await eventually('the saga is asked', () => reactor.inHand === 1 || looks > 0);
    await turns();
    // Whoever looks in the right order does not look at the outbox before the saga is through.
    saga.open();
    await eventually('its command is on its way', () => opening.world.accounts[1]!.asked === 1);
    await eventually('somebody looked', () => looks > 0);
    await turns();
    const early = settled;
    target.open();
    assert.equal(early, false);
    assert.equal((await answer).settled, true);
  });

  test('only what the command itself led to is waited for, not what else has its correlation id', async () => {
    const barrier = gate();
    const saga = new TestReactor(
      'saga',
      'fulfilment',
      async (request) => {
        if (textOf(request.source!.pages[0]!.event) === '1') await barrier.wait;
        return { commands: [], events: [] };
      },
      { domains: ['account'] },
    );
    await using opening = await opened([saga]);
    const correlationId = 'one conversation';
    await opening.world.deposit(newRoot(), 1, correlationId);
    const book = command(newRoot(), any('Deposit', '2'), { correlationId });
    assert.equal((await opening.sync('cascade', book)).settled, true);
    barrier.open();
  });
});

test('a caller that waits from inside a decision is told so at once', async () => {
  await using opening = await opened([]);
  const { world, sync } = opening;
  let told: unknown;
  world.accounts[0]!.before = async ({ workId }) => {
    told = await sync('simple', { ...deposit(), workId }).catch((error) => error.reason);
    return undefined;
  };
  await world.deposit();
  assert.equal(told, 'REENTRANT');
});

test('those who wait are shed first: the command is not executed', async () => {
  const barrier = gate();
  const projector = new TestReactor('projector', 'orders', async (request) => {
    await barrier.wait;
    return summing(request);
  });
  await using opening = await opened([projector], { waitingCommands: 1 });
  const { world, sync } = opening;
  const waiting = sync('simple', deposit());
  await eventually('it is projected', () => projector.inHand === 1);
  await assert.rejects(sync('simple', deposit()), { reason: 'OVERLOADED' });
  assert.equal((await world.store.head()).position, 1);
  await world.deposit();
  barrier.open();
  assert.equal((await waiting).settled, true);
});

test('a repeat with the same key waits as the first time did', async () => {
  const projector = new TestReactor('projector', 'orders', summing);
  await using opening = await opened([projector]);
  const book = () => command(ROOT, any('Deposit', '5'), { key: 'once' });
  const ROOT = newRoot();
  const first = await opening.sync('simple', book());
  const second = await opening.sync('simple', book());
  assert.deepEqual([first.duplicate, second.duplicate, second.settled], [false, true, true]);
  assert.deepEqual(second.projections, first.projections);
});

async function nothing() {
  return { cover: undefined, snapshot: undefined, pages: [], nextSequence: 0, consistencyToken: '' };
}
