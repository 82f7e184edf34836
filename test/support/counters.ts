// A small domain that is hosted by the client library: counters, and whatever projectors, sagas and process managers a test adds.

import {
  type Aggregate,
  type AttachOptions,
  attach,
  type Client,
  connect,
  type Host,
  packJson,
  Rejection,
  unpackJson,
  uuidv7,
} from '@daybook/client';
import { type TestDaemon, testDaemon } from './daemon.ts';

/** `Add` adds; less than 0 is refused. `Told` is what a rejection notification becomes. */
export function counterOf(domain: string): Aggregate<{ total: number }> {
  return {
    domain,
    initial: () => ({ total: 0 }),
    evolve: ({ total }, event) => ({ total: total + numberOf(event) }),
    decide(_, [command]) {
      if (command!.typeUrl.endsWith('RejectionNotification')) return [packJson('Told', 0)];
      const amount = numberOf(command!);
      if (amount < 0) throw new Rejection('NEGATIVE', 'expected 0 or more', { kind: 'invalid' });
      return [packJson('Added', amount)];
    },
  };
}

export function numberOf(payload: Parameters<typeof unpackJson>[0]): number {
  return Number(unpackJson(payload)!.value);
}

export class Counters implements AsyncDisposable {
  readonly daemon: TestDaemon;
  readonly client: Client;
  readonly hosts: Host[] = [];

  private constructor(daemon: TestDaemon) {
    this.daemon = daemon;
    this.client = connect({ address: daemon.address, retry: { attempts: 1 } });
  }

  /** Failures are judged fast: three attempts within some milliseconds. */
  static async open(hosted: Partial<AttachOptions> = {}, options: Parameters<typeof testDaemon>[0] = {}) {
    const env = {
      DAYBOOK__LIMITS__REACTION_ATTEMPTS: '3',
      DAYBOOK__LIMITS__REACTION_RETRY_MIN_MS: '5',
      DAYBOOK__LIMITS__REACTION_RETRY_MAX_MS: '20',
      ...options.env,
    };
    const counters = new Counters(await testDaemon({ ...options, env }));
    await counters.host({ aggregates: [counterOf('counter'), counterOf('other')], ...hosted });
    return counters;
  }

  async host(hosted: Partial<AttachOptions>): Promise<Host> {
    const host = attach({ address: this.daemon.address, name: 'counters', onEvent: () => {}, ...hosted });
    this.hosts.push(host);
    await host.ready();
    return host;
  }

  add(amount: number, rest: { root?: Uint8Array; tenant?: string; correlationId?: string } = {}) {
    return this.client.execute({ domain: 'counter', root: uuidv7(), payload: packJson('Add', amount), ...rest });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of this.hosts) await host.close();
    this.client.close();
    await this.daemon[Symbol.asyncDispose]();
  }
}
