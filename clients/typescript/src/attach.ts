// Hosting: your code opens a stream to Daybook and receives its work there. It needs no port of its own.

import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { Attachment, type HostEvent } from './attachment.ts';
import { type ConnectOptions, connect } from './client.ts';
import type { DaybookError } from './errors.ts';
import type { Welcome } from './gen/daybook/v1/component.ts';
import { type Hosted, streamsOf } from './hosted.ts';

export interface AttachOptions extends ConnectOptions, Partial<Hosted> {
  /** For people: which program this is. */
  name: string;
  version?: string;
  /** Tells several processes of the same program apart. Default: the host's name with a random ending. */
  instance?: string;
  /** A serialized google.protobuf.FileDescriptorSet of your payloads, so that Daybook can show them to people. */
  descriptors?: Uint8Array;
  /** What happens to the attachment. Default: failures, notices and lost connections go to console.error. */
  onEvent?(event: HostEvent): void;
}

/**
 * Attaches, and stays attached: a lost stream is opened again after a pause. Only what no repeat can mend ends it: a declaration or
 * a token that Daybook refuses.
 *
 * Aggregates and upcasters have one stream, projectors, sagas and process managers another; each is told of in events of its own.
 */
export function attach(options: AttachOptions): Host {
  return new Host(options);
}

export class Host {
  /** Resolves when hosting is over: with an error when Daybook refused it, without one after `close`. Never rejects. */
  readonly closed: Promise<DaybookError | undefined>;
  readonly #attachments: Attachment[] = [];

  constructor(options: AttachOptions) {
    const client = connect(options);
    const program = {
      name: options.name,
      version: options.version ?? '',
      instance: options.instance ?? INSTANCE,
      fileDescriptorSet: options.descriptors ?? new Uint8Array(0),
    };
    const onEvent = options.onEvent?.bind(options) ?? reportToConsole;
    for (const hosted of streamsOf(hostedBy(options))) {
      // One after the other, so that what the later ones hand out is never without what the earlier ones host.
      const previous = this.#attachments.at(-1)?.ready();
      this.#attachments.push(new Attachment({ connection: options, client, program, hosted, previous, onEvent }));
    }
    this.closed = this.#over().finally(() => client.close());
  }

  /** Resolves when Daybook has accepted this host; at once when it is attached now. Rejects when it will never be. */
  async ready(): Promise<Welcome> {
    const [welcome] = await Promise.all(this.#attachments.map((attachment) => attachment.ready()));
    return welcome!;
  }

  /** Takes no more work, answers what is in hand, then leaves. */
  async close(options: { timeoutMs?: number } = {}): Promise<void> {
    for (const attachment of this.#attachments) attachment.close(options.timeoutMs);
    await this.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** One that is refused takes the others with it: half a program is none. */
  async #over(): Promise<DaybookError | undefined> {
    const ends = this.#attachments.map(async (attachment) => {
      const refused = await attachment.closed;
      if (refused !== undefined) for (const other of this.#attachments) other.close();
      return refused;
    });
    return (await Promise.all(ends)).find((refused) => refused !== undefined);
  }
}

function hostedBy(options: AttachOptions): Hosted {
  const { aggregates = [], upcasters = [], projectors = [], sagas = [], processManagers = [] } = options;
  return { aggregates, upcasters, projectors, sagas, processManagers };
}

function reportToConsole(event: HostEvent): void {
  if (event.type === 'failed') {
    console.error(`daybook: ${event.work.component}: work ${event.work.workId} failed:`, event.error);
  }
  if (event.type === 'notice') console.error(`daybook: ${event.notice.reason}: ${event.notice.message}`);
  if (event.type === 'detached')
    console.error(`daybook: detached: ${event.error?.message ?? 'the daemon is draining'}`);
}

const INSTANCE = `${hostname()}-${randomUUID().slice(0, 8)}`;
