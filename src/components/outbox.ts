// What Daybook sends on one attach stream: items that are at hand together travel in one message.

import type { CoordinatorMessage, HistoryChunk, Work } from '../gen/daybook/v1/component.ts';
import { toDuration } from '../model/time.ts';

/** The transport under an attach stream. */
export interface AttachChannel {
  /** False: full, wait for `writable` before sending more. */
  send(message: CoordinatorMessage): boolean;
  /** Resolves when more may be sent, or the stream is gone. */
  writable(): Promise<void>;
  /** Nothing more will be sent: ends the stream in order. */
  end(): void;
}

/** A message takes no further item beyond this. */
const MESSAGE_BYTES = 512 * 1024;

export class Outbox {
  readonly #channel: AttachChannel;
  /** Messages to send; only the last one still grows. */
  #messages: CoordinatorMessage[] = [];
  #lastBytes = 0;
  /** Set while the transport is full. */
  #full: Promise<void> | undefined;
  #over = false;

  constructor(channel: AttachChannel) {
    this.#channel = channel;
  }

  work(work: Work, bytes: number): void {
    this.#message(bytes).work.push(work);
  }

  history(chunk: HistoryChunk, bytes: number): void {
    this.#message(bytes).history.push(chunk);
  }

  cancel(workId: string): void {
    this.#message(32).cancels.push({ workId });
  }

  notice(workId: string, reason: string, message: string): void {
    this.#message(64 + message.length).notices.push({ workId, reason, message });
  }

  /** The last message of all. */
  async drain(timeoutMs: number): Promise<void> {
    this.#message(8).drain = { timeout: toDuration(timeoutMs) };
    await this.writable();
    this.#over = true;
    this.#channel.end();
  }

  /** For senders of much: resolves when what was added has left for the transport, and the transport takes more. */
  async writable(): Promise<void> {
    this.#flush();
    while (this.#full !== undefined) await this.#full;
  }

  /** The message that the next item joins. */
  #message(bytes: number): CoordinatorMessage {
    const last = this.#messages.at(-1);
    if (last !== undefined && this.#lastBytes + bytes <= MESSAGE_BYTES) {
      this.#lastBytes += bytes;
      return last;
    }
    const message = { welcome: undefined, history: [], work: [], cancels: [], notices: [], drain: undefined };
    this.#messages.push(message);
    this.#lastBytes = bytes;
    // After everything that is ready now has had its turn, also what came on other streams: unary calls that arrive together, each in a
    // callback of its own, would else be a message each.
    setImmediate(() => this.#flush());
    return message;
  }

  #flush(): void {
    // What is said after good-bye, such as a Cancel, reaches nobody.
    if (this.#over) this.#messages = [];
    while (this.#full === undefined && this.#messages.length > 0) {
      if (this.#channel.send(this.#messages.shift()!)) continue;
      this.#full = this.#channel.writable().then(() => {
        this.#full = undefined;
        this.#flush();
      });
    }
  }
}
