// Unary calls, and messages on a stream that is echoed: so many in hand.

import { Latencies } from './latencies.ts';
import { payload, UnaryCommands } from './messages.ts';
import type { LoadResult } from './pipelined.ts';
import { clientOf, duplex, ECHO, unary } from './transport.ts';

export interface UnaryJob {
  kind: 'unary';
  address: string;
  seconds: number;
  inFlight: number;
  /** Absent: echoes. */
  aggregates?: number;
  firstAggregate?: number;
  domain?: string;
}

let turn = 0;

export async function unaryCalls(job: UnaryJob): Promise<LoadResult> {
  const { address, aggregates, firstAggregate = 0, domain } = job;
  const client = clientOf(address);
  const echo = Buffer.from(payload());
  const commands = new UnaryCommands(domain);
  const call =
    aggregates === undefined
      ? () => unary(client, ECHO.unary.path, echo)
      : () => unary(client, EXECUTE, commands.make(firstAggregate + (turn++ % aggregates)));
  return closedLoop(job.seconds, job.inFlight, async () => {
    const answer = await call();
    if (answer.length < echo.length) throw new Error(`an answer of ${answer.length} bytes`);
  });
}

const EXECUTE = '/daybook.v1.CommandGateway/Execute';

export interface EchoStreamJob {
  kind: 'echo-stream';
  address: string;
  seconds: number;
  inFlight: number;
}

export async function echoStream({ address, seconds, inFlight }: EchoStreamJob): Promise<LoadResult> {
  const stream = duplex(clientOf(address), ECHO.stream.path);
  const waiting: (() => void)[] = [];
  stream.on('data', () => waiting.shift()!());
  const echo = Buffer.from(payload());
  const result = await closedLoop(
    seconds,
    inFlight,
    () =>
      new Promise<void>((resolve) => {
        waiting.push(resolve);
        stream.write(echo);
      }),
  );
  stream.end();
  return result;
}

/** A call that rejects ends the run: nothing here may fail. */
export async function closedLoop(seconds: number, inFlight: number, call: () => Promise<void>): Promise<LoadResult> {
  const latencies = new Latencies();
  const begunMs = performance.now();
  const endMs = begunMs + seconds * 1000;
  let answered = 0;
  let lastMs = begunMs;
  const lane = async () => {
    for (let now = performance.now(); now < endMs; ) {
      await call();
      lastMs = performance.now();
      latencies.add(lastMs - now);
      now = lastMs;
      answered++;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return {
    sent: answered,
    answered,
    inTime: answered,
    failed: {},
    seconds: (lastMs - begunMs) / 1000,
    latency: latencies.result(),
  };
}
