// What the daemons of a log tell each other in their heartbeats, and what follows from it.

import type { HostShare, InstanceRow } from '../store.ts';

export interface InstanceBody {
  instance: string;
  version: string;
  incarnation: string;
  /** That it decides for now. */
  domains: string[];
  /** Where others of the log reach it; empty: nowhere. */
  peerAddress: string;
  /** It looks for rows that others forward. */
  takesForwarded: boolean;
  /** Projectors, sagas and process managers that it can reach now; `domain` is that of a process manager's own streams. */
  components: { name: string; kind: string; generation: number; version: number; domain: string }[];
  /** Generations that it is about to replace, by name: nobody else holds their partitions meanwhile. */
  replacing: { name: string; generation: number }[];
  /** By the store's clock. */
  heartbeatAtMicros: number;
}

export function describeInstance(body: InstanceBody): Uint8Array {
  return Buffer.from(JSON.stringify(body));
}

/** Older daemons say less. */
export function readInstance({ instance, body, heartbeatAtMicros }: InstanceRow): InstanceBody {
  const read: Partial<InstanceBody> = JSON.parse(Buffer.from(body).toString());
  const { version = '', incarnation = '', domains = [], peerAddress = '', takesForwarded = false } = read;
  const { replacing = [], components = [] } = read;
  const known = { instance, version, incarnation, domains, peerAddress, takesForwarded, replacing, heartbeatAtMicros };
  return { ...known, components: components.map((component) => ({ ...component, domain: component.domain ?? '' })) };
}

/** The daemons of the log, as of the last heartbeat, and what those before them said. */
export class Instances {
  readonly #own: string;
  #all: InstanceBody[] = [];
  /** Domains that some other daemon has hosted since this one began. */
  readonly #seen = new Set<string>();

  constructor(own: string) {
    this.#own = own;
  }

  /** True: others came, went, or host something else now. */
  update(all: InstanceBody[]): boolean {
    const before = this.#textOfOthers();
    this.#all = all;
    for (const { domains } of this.#others()) for (const domain of domains) this.#seen.add(domain);
    return this.#textOfOthers() !== before;
  }

  get all(): readonly InstanceBody[] {
    return this.#all;
  }

  get alone(): boolean {
    return this.#others().length === 0;
  }

  /** Some other daemon hosts it, or did. */
  knows(domain: string): boolean {
    return this.#seen.has(domain);
  }

  /** Other daemons that take what is forwarded to the domain now. */
  hostsOf(domain: string): { instance: string; address: string }[] {
    return this.#others()
      .filter(({ domains, takesForwarded }) => takesForwarded && domains.includes(domain))
      .map(({ instance, peerAddress }) => ({ instance, address: peerAddress }));
  }

  /** What of the rows for these domains, which it hosts, is this daemon's. */
  sharesOf(domains: readonly string[]): HostShare[] {
    return domains.map((domain) => {
      const hosts = [...this.hostsOf(domain).map(({ instance }) => instance), this.#own].sort();
      return { domain, part: hosts.indexOf(this.#own), parts: hosts.length };
    });
  }

  /** The domain of a process manager's own streams, as those who host it say. */
  processDomainOf(name: string): string | undefined {
    for (const { components } of this.#all) {
      const found = components.find((component) => component.kind === 'process_manager' && component.name === name);
      if (found !== undefined && found.domain !== '') return found.domain;
    }
    return undefined;
  }

  #others(): InstanceBody[] {
    return this.#all.filter(({ instance }) => instance !== this.#own);
  }

  #textOfOthers(): string {
    return JSON.stringify(this.#others().map((other) => ({ ...other, heartbeatAtMicros: 0 })));
  }
}
