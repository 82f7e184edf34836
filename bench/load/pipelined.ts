// Commands on one pipelined stream: so many in hand (closed loop), or so many a second whatever comes back (open loop).

import type { ClientDuplexStream } from '@grpc/grpc-js';
import { Latencies, type Latency } from './latencies.ts';
import { eachResult, Frames } from './messages.ts';
import { clientOf, duplex } from './transport.ts';

export interface PipelinedJob {
  kind: 'pipelined';
  address: string;
  seconds: number;
  /** Ends after so many instead. Closed loop only. */
  count?: number;
  /** Closed loop. */
  inFlight?: number;
  /** Open loop: a command's time counts from when it was due. */
  perSecond?: number;
  /** Streams over which an open loop spreads. Default: 1. */
  streams?: number;
  /** They take turns, from the first on. */
  aggregates: number;
  firstAggregate?: number;
  /** Each command's own deadline. */
  timeoutMs?: number;
}

export interface LoadResult {
  sent: number;
  /** Commands that took effect. */
  answered: number;
  /** Of those, within the command's own deadline, if it had one. */
  inTime: number;
  /** Of those that did not, by reason. */
  failed: Record<string, number>;
  /** Until the last answer. */
  seconds: number;
  /** Of those that took effect. */
  latency: Latency;
}

/** Of what has no latency of its own. */
export function counted(answered: number, seconds: number): LoadResult {
  const latency = { p50: 0, p90: 0, p99: 0, p999: 0, max: 0 };
  return { sent: answered, answered, inTime: answered, failed: {}, seconds, latency };
}

let turn = 0;

export async function pipelined(job: PipelinedJob): Promise<LoadResult> {
  const { address, seconds, count = Infinity, inFlight, perSecond, streams = 1, timeoutMs } = job;
  const run = new Run(job.aggregates, job.firstAggregate ?? 0, count, new Frames(timeoutMs), timeoutMs ?? Infinity);
  const client = clientOf(address);
  const opened = Array.from({ length: streams }, () => duplex(client, '/daybook.v1.CommandGateway/ExecutePipelined'));
  const ended = opened.map((stream) => run.listen(stream, inFlight !== undefined));
  const begunMs = performance.now();
  run.endMs = begunMs + seconds * 1000;
  if (inFlight !== undefined) run.send(opened[0]!, Math.min(inFlight, count), begunMs);
  else await openLoop(run, opened, perSecond!, begunMs);
  await run.idle(count === Infinity ? run.endMs : 0);
  const result = run.result(begunMs);
  for (const stream of opened) stream.end();
  await Promise.all(ended);
  return result;
}

async function openLoop(
  run: Run,
  streams: readonly ClientDuplexStream<Buffer, Buffer>[],
  perSecond: number,
  begunMs: number,
): Promise<void> {
  const each = 1000 / perSecond;
  for (let due = 0, next = 0; ; ) {
    const now = Math.min(performance.now(), run.endMs);
    const count = Math.floor((now - begunMs) / each) + 1 - due;
    // What is due at once travels together, at most so much that a frame stays short.
    for (let left = count; left > 0; left -= FRAME_COMMANDS) {
      const part = Math.min(left, FRAME_COMMANDS);
      const stream = roomy(streams, next++);
      if (stream === undefined) run.giveUp(part);
      else run.send(stream, part, begunMs + due * each, each);
      due += part;
    }
    if (now >= run.endMs) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const FRAME_COMMANDS = 256;

/** The next stream that takes something: what the daemon does not read does not pile up here. */
function roomy(streams: readonly ClientDuplexStream<Buffer, Buffer>[], next: number) {
  for (let i = 0; i < streams.length; i++) {
    const stream = streams[(next + i) % streams.length]!;
    if (stream.writableLength === 0) return stream;
  }
  return undefined;
}

class Run {
  endMs = 0;
  readonly #aggregates: number;
  readonly #first: number;
  readonly #count: number;
  readonly #frames: Frames;
  readonly #patienceMs: number;
  readonly #latencies = new Latencies();
  /** When each command was due, by id. */
  readonly #dueMs: number[] = [0];
  readonly #failed: Record<string, number> = {};
  #answered = 0;
  #inTime = 0;
  #settled = 0;
  #lastMs = 0;
  #idle: (() => void) | undefined;

  constructor(aggregates: number, first: number, count: number, frames: Frames, patienceMs: number) {
    this.#patienceMs = patienceMs;
    this.#aggregates = aggregates;
    this.#first = first;
    this.#count = count;
    this.#frames = frames;
  }

  get #sent(): number {
    return this.#dueMs.length - 1;
  }

  send(stream: ClientDuplexStream<Buffer, Buffer>, count: number, dueMs: number, eachMs = 0): void {
    const firstId = this.#dueMs.length;
    const aggregates: number[] = [];
    for (let i = 0; i < count; i++) {
      aggregates.push(this.#first + (turn++ % this.#aggregates));
      this.#dueMs.push(dueMs + i * eachMs);
    }
    stream.write(this.#frames.make(firstId, aggregates));
  }

  /** Nobody took them. */
  giveUp(count: number): void {
    this.#failed.UNSENT = (this.#failed.UNSENT ?? 0) + count;
  }

  /** In a closed loop as many go as came. Resolves when the stream is over. */
  listen(stream: ClientDuplexStream<Buffer, Buffer>, closed: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      stream.on('data', (frame: Buffer) => {
        const now = performance.now();
        let count = 0;
        eachResult(frame, (id, error) => {
          count++;
          this.#take(id, error, now);
        });
        const left = Math.min(count, this.#count - this.#sent);
        if (closed && left > 0 && (this.#count < Infinity || now < this.endMs)) this.send(stream, left, now);
        else if (this.#settled === this.#sent) this.#idle?.();
      });
      stream.on('end', resolve);
      stream.on('error', reject);
    });
  }

  #take(id: number, error: string | undefined, now: number): void {
    this.#settled++;
    if (error === undefined) {
      this.#answered++;
      this.#lastMs = now;
      const ms = now - this.#dueMs[id]!;
      this.#latencies.add(ms);
      if (ms <= this.#patienceMs) this.#inTime++;
    } else this.#failed[error] = (this.#failed[error] ?? 0) + 1;
  }

  /** Everything that was sent is answered, and nothing is sent any more. */
  async idle(afterMs: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, afterMs - performance.now())));
    if (this.#settled === this.#sent) return;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
  }

  result(begunMs: number): LoadResult {
    return {
      sent: this.#sent,
      answered: this.#answered,
      inTime: this.#inTime,
      failed: this.#failed,
      seconds: (this.#lastMs - begunMs) / 1000,
      latency: this.#latencies.result(),
    };
  }
}
