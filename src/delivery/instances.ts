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

export function describeInstance(body: InstanceBody): Buffer<ArrayBuffer> {
  return Buffer.from(JSON.stringify(body));
}

/** Older daemons say less. */
function readInstance({ instance, body, heartbeatAtMicros }: InstanceRow): InstanceBody {
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
  /** What each said last, as text: it nearly always says the same again, and is not read anew then. */
  #said = new Map<string, { text: string; body: InstanceBody }>();
  /** Domains that some other daemon has hosted since this one began. */
  readonly #seen = new Set<string>();

  constructor(own: string) {
    this.#own = own;
  }

  /** True: others came, went, or host something else now. */
  update(rows: readonly InstanceRow[]): boolean {
    const before = this.#others().length;
    let changed = false;
    const said = new Map<string, { text: string; body: InstanceBody }>();
    for (const row of rows) {
      const { instance, heartbeatAtMicros } = row;
      const text = Buffer.from(row.body).toString();
      const known = this.#said.get(instance);
      const same = known?.text === text;
      said.set(instance, { text, body: same ? { ...known.body, heartbeatAtMicros } : readInstance(row) });
      changed ||= !same && instance !== this.#own;
    }
    this.#said = said;
    this.#all = [...said.values()].map(({ body }) => body);
    const others = this.#others();
    if (changed) for (const { domains } of others) for (const domain of domains) this.#seen.add(domain);
    return changed || others.length !== before;
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
}
