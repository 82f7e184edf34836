import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { PipelinedCommands, PipelinedResult, PipelinedResults } from '../src/gen/daybook/v1/gateway.ts';
import { CommandResponse } from '../src/gen/daybook/v1/types.ts';
import { type Client, type Command, connect, Rejected } from '../src/index.ts';
import { add, root } from './support/counter.ts';
import { daybookError, FakeDaemon, Inbox } from './support/fake-daemon.ts';

let daemon: FakeDaemon;
let client: Client;
let frames: Inbox<PipelinedCommands>;
let call: ServerDuplexStream<PipelinedCommands, PipelinedResults>;
const command: Command = { domain: 'counter', root, payload: add(1) };

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  client = connect({ address: daemon.address });
  frames = new Inbox();
  daemon.executePipelined = (stream) => {
    call = stream;
    stream.on('data', (frame: PipelinedCommands) => frames.put(frame));
    stream.on('end', () => stream.end());
    stream.on('error', () => {});
  };
});

afterEach(() => {
  client.close();
  daemon.stop();
});

test('commands sent in one go share a frame; answers come by id in any order', async () => {
  const pipeline = client.pipeline();
  const sent = [1, 2, 3].map((n) => pipeline.send({ ...command, payload: add(n) }));
  const { commands } = await frames.take();
  assert.deepEqual(
    commands.map((each) => each.id),
    [1, 2, 3],
  );
  call.write({ results: [3, 1, 2].map(answer) });
  const responses = await Promise.all(sent);
  assert.deepEqual(
    responses.map((response) => response.position),
    [10, 20, 30],
  );
  await pipeline.close();
});

test('each command fails alone, with its key', async () => {
  await using pipeline = client.pipeline();
  const bad = assert.rejects(pipeline.send({ ...command, idempotencyKey: 'k' }), (error) => {
    assert.ok(error instanceof Rejected);
    assert.deepEqual([error.rejectionCode, error.idempotencyKey], ['NO', 'k']);
    return true;
  });
  const good = pipeline.send(command);
  await frames.take();
  const rejection = { kind: 2 as const, code: 'NO', message: 'no', details: undefined, page: 0 };
  const error = { code: 9, reason: 'REJECTED', message: 'no', metadata: {}, retryDelay: undefined, rejection };
  call.write({
    results: [{ id: 1, result: { $case: 'error', value: error } }, answer(2)],
  });
  await bad;
  assert.equal((await good).position, 20);
});

test('not more are in flight than allowed, and ready waits for room', async () => {
  const pipeline = client.pipeline({ maxInFlight: 2 });
  const sent = [1, 2, 3].map(() => pipeline.send(command));
  assert.equal((await frames.take()).commands.length, 2);
  let ready = false;
  const room = pipeline.ready().then(() => {
    ready = true;
  });
  call.write({ results: [answer(1)] });
  assert.equal((await frames.take()).commands.length, 1);
  assert.equal(ready, false);
  for (const id of [2, 3]) {
    call.write({ results: [answer(id)] });
  }
  await room;
  await Promise.all(sent);
  await pipeline.close();
});

test('more than may wait is refused at once', async () => {
  const pipeline = client.pipeline({ maxWaiting: 1 });
  const kept = assert.rejects(pipeline.send(command), { reason: 'PIPELINE_BROKEN' });
  await assert.rejects(pipeline.send(command), { reason: 'PIPELINE_FULL' });
  await frames.take();
  daemon.stop();
  await kept;
});

test('large commands are spread over several frames', async () => {
  const pipeline = client.pipeline();
  const sent = [1, 2, 3].map(() =>
    pipeline.send({ ...command, payload: { typeUrl: 'type.googleapis.com/x.Big', value: new Uint8Array(300_000) } }),
  );
  for (const id of [1, 2, 3]) {
    assert.deepEqual(
      (await frames.take()).commands.map((each) => each.id),
      [id],
    );
    call.write({ results: [answer(id)] });
  }
  await Promise.all(sent);
  await pipeline.close();
});

test('when the stream breaks, everything pending rejects by name, with its key', async () => {
  const pipeline = client.pipeline({ maxInFlight: 1 });
  const sent = ['a', 'b'].map((idempotencyKey) =>
    assert.rejects(pipeline.send({ ...command, idempotencyKey }), {
      reason: 'PIPELINE_BROKEN',
      retryable: true,
      idempotencyKey,
    }),
  );
  await frames.take();
  call.emit('error', daybookError(14, 'SHUTTING_DOWN'));
  await Promise.all(sent);
  await assert.rejects(pipeline.send(command), { reason: 'PIPELINE_BROKEN' });
  await assert.rejects(pipeline.ready(), { reason: 'PIPELINE_BROKEN' });
  await pipeline.close();
  await assert.rejects(pipeline.send(command), { reason: 'CLOSED' });
});

test('a command that nobody waits for rejects at once; its answer is ignored', async () => {
  const pipeline = client.pipeline();
  const controller = new AbortController();
  const sent = pipeline.send(command, { signal: controller.signal });
  await frames.take();
  controller.abort(new Error('enough'));
  await assert.rejects(sent, { message: 'enough' });
  call.write({ results: [answer(1)] });
  await pipeline.close();
});

function answer(id: number): PipelinedResult {
  return { id, result: { $case: 'response', value: CommandResponse.fromPartial({ position: id * 10 }) } };
}
