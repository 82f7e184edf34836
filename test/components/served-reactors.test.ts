import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { HostLost, type ReactorDeclaration } from '../../src/component.ts';
import { ServedReactor } from '../../src/components/served-reactor.ts';
import { DaybookError } from '../../src/errors.ts';
import type { ReactorKind } from '../../src/model/reaction.ts';
import { systemRuntime } from '../../src/runtime.ts';
import { any, eventBook } from '../support/books.ts';
import { testDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { REQUESTS, RESPONSES, reactionCall } from '../support/reactors.ts';
import { ServedReactorServer } from '../support/served-reactor.ts';

function declared<Kind extends ReactorKind>(kind: Kind): ReactorDeclaration & { kind: Kind } {
  return {
    kind,
    name: 's',
    domains: [],
    types: [],
    generation: 1,
    version: 1,
    start: { kind: 'beginning' },
    partitions: 16,
    sync: false,
    ordered: false,
    maxPages: 1,
    domain: '',
    snapshotSchemaVersion: 0,
  };
}

interface Opened<Kind extends ReactorKind> extends Disposable {
  reactor: ServedReactor<Kind>;
  /** What the log got. */
  logged: string[];
  /** `available` at each time that listeners were told. */
  told: boolean[];
}

function open<Kind extends ReactorKind>(kind: Kind, address: string, concurrency = 64): Opened<Kind> {
  const logged: string[] = [];
  const log = {
    warn: (fields: Record<string, unknown>, message: string) => logged.push(`${message}: ${fields.reason}`),
    info: (_: Record<string, unknown>, message: string) => logged.push(message),
  };
  const parts = { declaration: declared(kind), address, concurrency };
  const reactor = new ServedReactor(parts, { messageBytes: 4 << 20 }, systemRuntime(), log);
  const told: boolean[] = [];
  reactor.onChanged(() => told.push(reactor.available));
  return { reactor, logged, told, [Symbol.dispose]: () => reactor.close() };
}

async function serve(kind: ReactorKind = 'saga') {
  const server = new ServedReactorServer(kind);
  await server.start();
  return Object.assign(server, { [Symbol.dispose]: () => server.stop() });
}

const fails =
  (reason: string, message: RegExp, lost = false) =>
  (error: unknown) => {
    assert.ok(error instanceof DaybookError, String(error));
    assert.equal(error.reason, reason, error.message);
    assert.match(error.message, message);
    assert.equal(error instanceof HostLost, lost, error.message);
    assert.equal(error.metadata.component, 's');
    return true;
  };

for (const kind of ['projector', 'saga', 'process_manager'] as const) {
  test(`a ${kind} is called at its service, and the trace context goes along`, async () => {
    using server = await serve(kind);
    using opened = open(kind, server.address);
    const { reactor } = opened;
    const call = reactionCall({ traceparent: '00-1-2-01', tracestate: 'a=b' });
    const response = await reactor.handle({ ...REQUESTS[kind], workId: call.workId } as never, call);
    assert.deepEqual(response, RESPONSES[kind]);
    const [seen] = server.calls;
    assert.equal((seen!.request as { workId: string }).workId, call.workId);
    assert.deepEqual([seen!.metadata.get('traceparent'), seen!.metadata.get('tracestate')], [['00-1-2-01'], ['a=b']]);
    // What no header may have is left out, and the event is handled all the same.
    await reactor.handle(REQUESTS[kind] as never, reactionCall({ traceparent: 'é\n' }));
    assert.deepEqual(server.calls[1]!.metadata.get('traceparent'), []);
    assert.equal(reactor.title, `${kind.replace('_', ' ')} s`);
  });
}

test('what each status means', async () => {
  using server = await serve();
  const expected: [status, string][] = [
    [status.UNAVAILABLE, 'COMPONENT_UNAVAILABLE'],
    [status.UNIMPLEMENTED, 'COMPONENT_UNAVAILABLE'],
    [status.UNAUTHENTICATED, 'COMPONENT_UNAVAILABLE'],
    [status.CANCELLED, 'COMPONENT_UNAVAILABLE'],
    [status.RESOURCE_EXHAUSTED, 'OVERLOADED'],
    [status.DEADLINE_EXCEEDED, 'COMPONENT_TIMEOUT'],
    [status.INVALID_ARGUMENT, 'COMPONENT_FAULT'],
    [status.FAILED_PRECONDITION, 'COMPONENT_FAULT'],
    [status.NOT_FOUND, 'COMPONENT_FAULT'],
    [status.ABORTED, 'COMPONENT_FAULT'],
    [status.INTERNAL, 'COMPONENT_FAULT'],
    [status.UNKNOWN, 'COMPONENT_FAULT'],
  ];
  for (const [code, reason] of expected) {
    using opened = open('saga', server.address);
    server.handle = () => {
      throw { code, details: 'no database' };
    };
    const answer = opened.reactor.handle(REQUESTS.saga, reactionCall());
    await assert.rejects(answer, fails(reason, /^s: event 1 of \/order\/1: .*no database/), status[code]);
    assert.equal(opened.reactor.available, reason !== 'COMPONENT_UNAVAILABLE', status[code]);
  }
});

test('one that says UNAVAILABLE is tried again after a moment', async () => {
  using server = await serve();
  using opened = open('saga', server.address);
  const { reactor, told } = opened;
  server.handle = () => {
    throw { code: status.UNAVAILABLE, details: 'starting' };
  };
  await assert.rejects(reactor.handle(REQUESTS.saga, reactionCall()), fails('COMPONENT_UNAVAILABLE', /starting/));
  assert.deepEqual([reactor.available, told], [false, [false]]);
  assert.match(reactor.notReady!, /^UNAVAILABLE: starting/);
  await eventually('it may be tried again', () => reactor.available);
  assert.deepEqual(told, [false, true]);
  assert.equal(reactor.notReady, undefined);
});

test('one that was never reached is unavailable, not lost, and is found soon after it is there', async () => {
  const server = await serve();
  server.stop();
  using opened = open('saga', server.address);
  const { reactor, told } = opened;
  assert.equal(reactor.available, true);
  for (let i = 0; i < 3; i++) {
    const answer = reactor.handle(REQUESTS.saga, reactionCall());
    await assert.rejects(answer, fails('COMPONENT_UNAVAILABLE', /No connection established/));
  }
  assert.deepEqual([reactor.available, told], [false, [false]]);
  await server.start();
  using _ = server;
  const since = performance.now();
  await eventually('it is found', () => reactor.available);
  const foundMs = performance.now() - since;
  assert.ok(foundMs < 3000, `found after ${foundMs} ms`);
  assert.deepEqual(told, [false, true]);
  assert.deepEqual(await reactor.handle(REQUESTS.saga, reactionCall()), RESPONSES.saga);
});

const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill('SIGKILL');
});

for (const death of ['killed', 'exits', 'throws']) {
  test(`trap 47: a server that dies with work in hand (${death}) is lost, not just unavailable`, async () => {
    const script = new URL('./children/dying-saga.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [script, death], { stdio: ['ignore', 'pipe', 'ignore'] });
    children.push(child);
    const [port] = await once(child.stdout!, 'data');
    using opened = open('saga', `127.0.0.1:${Number(port)}`);
    const { reactor } = opened;
    const answers = [1, 2].map(() => reactor.handle(REQUESTS.saga, reactionCall({ timeoutMs: 10_000 })));
    for (const answer of answers) {
      await assert.rejects(answer, fails('COMPONENT_UNAVAILABLE', /^s: event 1 of \/order\/1: .*in hand/, true));
    }
    assert.equal(reactor.available, false);
    // From now on nobody is there, and nothing is lost.
    await assert.rejects(
      reactor.handle(REQUESTS.saga, reactionCall()),
      fails('COMPONENT_UNAVAILABLE', /No connection established/),
    );
  });
}

test('a server that stops without waiting for its work loses it', async () => {
  const server = await serve();
  using opened = open('saga', server.address);
  server.handle = () => {
    server.stop();
    return new Promise(() => {});
  };
  const answer = opened.reactor.handle(REQUESTS.saga, reactionCall());
  await assert.rejects(answer, fails('COMPONENT_UNAVAILABLE', /in hand/, true));
});

test('the deadline: a timeout when the server had it, unavailable when nobody did', async () => {
  using server = await serve();
  using opened = open('saga', server.address);
  server.handle = () => new Promise(() => {});
  const late = opened.reactor.handle(REQUESTS.saga, reactionCall({ timeoutMs: 100 }));
  await assert.rejects(late, fails('COMPONENT_TIMEOUT', /DEADLINE_EXCEEDED/));
  assert.equal(opened.reactor.available, true);
  // Something that takes connections and says nothing.
  const sockets: Socket[] = [];
  const mute = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  await once(mute, 'listening');
  const { port } = mute.address() as { port: number };
  const unheard = open('saga', `127.0.0.1:${port}`);
  try {
    const never = unheard.reactor.handle(REQUESTS.saga, reactionCall({ timeoutMs: 100 }));
    await assert.rejects(never, fails('COMPONENT_UNAVAILABLE', /DEADLINE_EXCEEDED/));
    assert.equal(unheard.reactor.available, false);
  } finally {
    unheard[Symbol.dispose]();
    for (const socket of sockets) socket.destroy();
    mute.close();
  }
});

test('a request that the server cannot take is a fault: it would never succeed', async () => {
  using server = await serve();
  using opened = open('saga', server.address);
  const source = eventBook([any('Deposited', '1'.repeat(2 << 20))]);
  const answer = opened.reactor.handle({ ...REQUESTS.saga, source }, reactionCall({ timeoutMs: 10_000 }));
  await assert.rejects(answer, fails('COMPONENT_FAULT', /larger than max/));
});

test('as many in hand as configured; others wait in order, without losing time, and may be withdrawn', async () => {
  using server = await serve();
  using opened = open('saga', server.address, 2);
  const { reactor } = opened;
  const answers: (() => void)[] = [];
  server.handle = () => new Promise((resolve) => answers.push(() => resolve(RESPONSES.saga)));
  const controllers = Array.from({ length: 6 }, () => new AbortController());
  const done: number[] = [];
  const calls = controllers.map(({ signal }, i) =>
    reactor
      .handle({ ...REQUESTS.saga, workId: String(i) }, reactionCall({ signal, timeoutMs: i < 2 ? 10_000 : 5000 }))
      .then(() => done.push(i)),
  );
  const seen = () => server.calls.map(({ request }) => (request as { workId: string }).workId).join(' ');
  await eventually('two calls', () => seen() === '0 1');
  const reason = new Error('lease lost');
  controllers[3]!.abort(reason);
  await assert.rejects(calls[3]!, reason);
  answers.shift()!();
  await eventually('the next call', () => seen() === '0 1 2');
  // One that is in hand makes room, too.
  controllers[1]!.abort(reason);
  await assert.rejects(calls[1]!, reason);
  await eventually('the one after', () => seen() === '0 1 2 4');
  for (const answer of answers.splice(0)) answer();
  await eventually('the last call', () => seen() === '0 1 2 4 5');
  for (const answer of answers) answer();
  await Promise.all([0, 2, 4, 5].map((i) => calls[i]));
  assert.deepEqual([...done].sort(), [0, 2, 4, 5]);
  await assert.rejects(reactor.handle(REQUESTS.saga, reactionCall({ signal: controllers[3]!.signal })), reason);
});

test('a refused reactor: the log says why, nothing is called', async () => {
  using server = await serve();
  using opened = open('saga', server.address);
  const { reactor, logged, told } = opened;
  reactor.refuse('somebody declared a newer one');
  reactor.refuse('somebody declared a newer one');
  assert.equal(reactor.available, false);
  assert.equal(reactor.notReady, 'refused: somebody declared a newer one');
  await assert.rejects(reactor.handle(REQUESTS.saga, reactionCall()), fails('COMPONENT_UNAVAILABLE', /a newer one/));
  assert.equal(server.calls.length, 0);
  reactor.refuse(undefined);
  assert.equal(reactor.available, true);
  assert.deepEqual(logged, ['saga s gets no work: somebody declared a newer one', 'saga s gets work again']);
  assert.deepEqual(told, [false, true]);
});

test('closed: what waits fails, nothing is called any more', async () => {
  using server = await serve();
  const { reactor } = open('saga', server.address, 1);
  server.handle = () => new Promise(() => {});
  const controller = new AbortController();
  const first = reactor.handle(REQUESTS.saga, reactionCall({ signal: controller.signal }));
  await eventually('a call', () => server.calls.length === 1);
  const waiting = [1, 2].map(() => reactor.handle(REQUESTS.saga, reactionCall()));
  reactor.close();
  for (const answer of waiting) await assert.rejects(answer, fails('COMPONENT_UNAVAILABLE', /the daemon stops/));
  controller.abort(new Error('over'));
  await assert.rejects(first, /over/);
  assert.equal(server.calls.length, 1);
});

test('a daemon shows its served reactors in /readyz', async () => {
  const components = [
    { projector: 'summary', address: '127.0.0.1:1' },
    { process_manager: 'payment', address: '127.0.0.1:1' },
  ];
  await using daemon = await testDaemon({ env: { DAYBOOK__COMPONENTS: JSON.stringify(components) } });
  const response = await fetch(`http://${daemon.daemon.addresses.health}/readyz`);
  const { parts } = (await response.json()) as { parts: Record<string, string> };
  assert.deepEqual([parts['projector summary'], parts['process manager payment']], ['ok', 'ok']);
});
