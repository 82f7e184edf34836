// One call with the bytes that are given, and what is wrong with its outcome.

import { type Client, type ServiceError, type StatusObject, status } from '@grpc/grpc-js';
import type { PipelinedResults } from '../../src/gen/daybook/v1/gateway.ts';
import { detailsOf } from '../support/daemon.ts';

/** After it a live stream that says nothing counts as one that waits for events, which is a success. */
const SILENCE_MS = 150;
/** Everything else must end within this. */
const ANSWER_MS = 30_000;

export interface Method {
  name: string;
  responseType: { decode(bytes: Uint8Array): unknown };
  requestStream: boolean;
  responseStream: boolean;
}

export interface Outcome {
  status: StatusObject;
  /** We left a stream that was open. */
  left: boolean;
  answers: unknown[];
}

/** Live streams go on when the request has ended. */
export function waits({ name }: Method): boolean {
  return /^(ExecuteStream|ReadLog|Subscribe|Synchronize|Watch)/.test(name);
}

/** Sends the frames and nothing more. On the wire all kinds of methods look the same. */
export function call(client: Client, service: string, method: Method, frames: Uint8Array[]): Promise<Outcome> {
  const stream = client.makeBidiStreamRequest(
    `/${service}/${method.name}`,
    (bytes: Uint8Array) => Buffer.from(bytes),
    (bytes: Buffer) => method.responseType.decode(bytes),
  );
  const outcome: Outcome = { status: { code: status.OK } as StatusObject, left: false, answers: [] };
  const leave = () => {
    outcome.left = true;
    stream.cancel();
  };
  const timer = setTimeout(leave, waits(method) ? SILENCE_MS : ANSWER_MS);
  stream.on('data', (answer) => {
    outcome.answers.push(answer);
    if (method.responseStream && !method.requestStream) leave();
  });
  stream.on('error', () => {});
  for (const frame of frames) stream.write(frame);
  stream.end();
  return new Promise((resolve) => {
    stream.on('status', (ended: StatusObject) => {
      clearTimeout(timer);
      resolve({ ...outcome, status: ended });
    });
  });
}

/** What is wrong with an outcome; `undefined`: nothing. */
export function complaint(method: Method, { status: ended, left, answers }: Outcome): string | undefined {
  if (left) return waits(method) || answers.length > 0 ? undefined : `no end within ${ANSWER_MS} ms`;
  if (ended.code === status.OK) return answers.map(pipelinedComplaint).find((found) => found !== undefined);
  try {
    const { reason, domain } = detailsOf(ended as unknown as ServiceError);
    if (reason === '' || domain !== 'daybook') return `no reason: ${ended.details}`;
    return reason === 'INTERNAL' ? `a defect: ${ended.details}` : undefined;
  } catch (error) {
    return `status ${status[ended.code]} without details: ${ended.details} (${error})`;
  }
}

export function pipelinedComplaint(answer: unknown): string | undefined {
  for (const { result } of (answer as Partial<PipelinedResults>).results ?? []) {
    if (result === undefined) return 'a result that is neither a response nor an error';
    if (result.$case === 'error' && ['', 'INTERNAL'].includes(result.value.reason)) return result.value.message;
  }
  return undefined;
}
