// Who hosts what, right now. Served components come from the configuration, attached ones come and go.

import type { AggregateComponent, Components, Reactor, ReactorDeclaration, Upcaster } from '../component.ts';
import type { Deadlines } from '../deadlines.ts';
import { DaybookError, invalid } from '../errors.ts';
import type { ComponentMessage, Hello } from '../gen/daybook/v1/component.ts';
import type { Runtime } from '../runtime.ts';
import { AttachedPool } from './attached-pool.ts';
import type { UpcastingLimits } from './attached-upcaster.ts';
import { Attachment } from './attachment.ts';
import { type AttachChannel, Outbox } from './outbox.ts';
import { Reactors, type StandingReactor } from './reactors.ts';
import { UpcasterPool } from './upcaster-pool.ts';

export interface Attached {
  readonly attachment: Attachment;
  readonly outbox: Outbox;
  receive(message: ComponentMessage): void;
  /** The stream is gone. */
  close(): void;
}

export interface RegistryOptions {
  /** The only domains that this daemon appends to; `undefined`: whatever components host. */
  owned: readonly string[] | undefined;
  served: readonly AggregateComponent[];
  servedUpcasters: readonly Upcaster[];
  servedReactors: readonly StandingReactor[];
  /** Domains whose events are not handed out before an upcaster is there. */
  upcasted: readonly string[];
  limits: UpcastingLimits;
  /** What old events look like has changed: histories that were kept are of no use. */
  onUpcastersChanged: () => void;
  /** A component brought the descriptors of its payloads along. Throws when they are none. */
  onDescriptors: (component: string, fileDescriptorSet: Uint8Array) => void;
}

export class ComponentRegistry implements Components {
  readonly #runtime: Runtime;
  readonly #deadlines: Deadlines;
  readonly #options: RegistryOptions;
  readonly #served = new Map<string, AggregateComponent>();
  readonly #pools = new Map<string, AttachedPool>();
  readonly #servedUpcasters = new Map<string, Upcaster>();
  readonly #upcasterPools = new Map<string, UpcasterPool>();
  readonly #reactors: Reactors;
  readonly #attachments = new Set<Attachment>();
  #attached = 0;
  #draining = false;

  constructor(runtime: Runtime, deadlines: Deadlines, options: RegistryOptions) {
    this.#runtime = runtime;
    this.#deadlines = deadlines;
    this.#options = options;
    for (const component of options.served) this.#served.set(component.domain, component);
    for (const upcaster of options.servedUpcasters) this.#servedUpcasters.set(upcaster.domain, upcaster);
    this.#reactors = new Reactors(options.servedReactors);
    for (const domain of options.upcasted) this.#upcasterPool(domain);
  }

  aggregate(domain: string): AggregateComponent | undefined {
    const served = this.#served.get(domain);
    if (served !== undefined) return served;
    const pool = this.#pools.get(domain);
    return pool?.available ? pool : undefined;
  }

  /** Domains that somebody decides for now. */
  hostedDomains(): string[] {
    const attached = [...this.#pools].filter(([, pool]) => pool.available).map(([domain]) => domain);
    return [...this.#served.keys(), ...attached];
  }

  knowsDomain(domain: string): boolean {
    return this.#served.has(domain) || this.#pools.has(domain) || (this.#options.owned?.includes(domain) ?? false);
  }

  upcaster(domain: string): Upcaster | undefined {
    return this.#servedUpcasters.get(domain) ?? this.#upcasterPools.get(domain);
  }

  reactors(): readonly Reactor[] {
    return this.#reactors.all();
  }

  onReactorsChanged(listener: () => void): void {
    this.#reactors.onChanged(listener);
  }

  get hasUpcasters(): boolean {
    return this.#servedUpcasters.size > 0 || this.#upcasterPools.size > 0;
  }

  /** A component has introduced itself. Throws when it cannot be accepted. */
  attach(hello: Hello, channel: AttachChannel): Attached {
    if (this.#draining) throw new DaybookError('SHUTTING_DOWN', 'the daemon is stopping; attach again in a moment');
    for (const { domain } of hello.aggregates) this.#checkOwned(domain);
    this.#checkProcessDomains(hello);
    for (const { domain } of hello.upcasters) this.#checkUpcaster(domain);
    const outbox = new Outbox(channel);
    const { limits } = this.#options;
    const attachment = new Attachment(++this.#attached, hello, outbox, this.#runtime, this.#deadlines, limits);
    for (const { declaration } of attachment.reactors) this.#checkReactor(declaration);
    if (hello.fileDescriptorSet.length > 0) this.#options.onDescriptors(componentText(hello), hello.fileDescriptorSet);
    this.#attachments.add(attachment);
    for (const aggregate of attachment.aggregates) this.#pool(aggregate.domain).add(attachment, aggregate);
    for (const upcaster of attachment.upcasters) this.#upcasterPool(upcaster.domain).add(attachment, upcaster);
    for (const reactor of attachment.reactors) this.#reactors.add(attachment, reactor);
    if (attachment.upcasters.length > 0) this.#options.onUpcastersChanged();
    // Other daemons learn at once what is hosted here.
    if (attachment.aggregates.length > 0) this.#reactors.changed();
    return {
      attachment,
      outbox,
      receive: (message) => {
        attachment.receive(message);
        if (message.drain !== undefined) this.#reactors.changed();
      },
      close: () => {
        if (!this.#attachments.delete(attachment)) return;
        for (const aggregate of attachment.aggregates) this.#pool(aggregate.domain).remove(attachment);
        for (const upcaster of attachment.upcasters) this.#upcasterPool(upcaster.domain).remove(attachment);
        for (const reactor of attachment.reactors) this.#reactors.remove(attachment, reactor);
        if (attachment.aggregates.length > 0) this.#reactors.changed();
        if (attachment.upcasters.length > 0) this.#options.onUpcastersChanged();
        attachment.close();
      },
    };
  }

  /** Says good-bye to every attached component; `timeoutMs` is how long the daemon is still there. */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    const drained = [...this.#attachments].map((attachment) => attachment.drain(timeoutMs));
    this.#reactors.changed();
    await Promise.all(drained);
  }

  #pool(domain: string): AttachedPool {
    let pool = this.#pools.get(domain);
    if (pool === undefined) {
      pool = new AttachedPool(domain);
      this.#pools.set(domain, pool);
    }
    return pool;
  }

  #upcasterPool(domain: string): UpcasterPool {
    let pool = this.#upcasterPools.get(domain);
    if (pool === undefined) {
      pool = new UpcasterPool(domain);
      this.#upcasterPools.set(domain, pool);
    }
    return pool;
  }

  #checkUpcaster(domain: string): void {
    if (!this.#servedUpcasters.has(domain)) return;
    throw invalid('hello.upcasters.domain', `${domain}: the configuration names a served upcaster for this domain`);
  }

  #checkOwned(domain: string): void {
    if (this.#served.has(domain)) {
      throw invalid('hello.aggregates.domain', `${domain}: the configuration names a served component for this domain`);
    }
    this.#checkAppended('hello.aggregates.domain', domain);
  }

  #checkReactor(declaration: ReactorDeclaration): void {
    if (declaration.kind === 'process_manager') {
      this.#checkAppended('hello.process_managers.domain', declaration.domain);
    }
    this.#reactors.check(declaration);
  }

  /** Who decides for a domain decides alone: a process manager is in nobody else's. */
  #checkProcessDomains({ aggregates, processManagers }: Hello): void {
    const decided = new Set([...this.hostedDomains(), ...aggregates.map(({ domain }) => domain)]);
    for (const { name, domain } of processManagers) {
      const own = domain || name;
      if (!decided.has(own)) continue;
      throw invalid(
        'hello.process_managers.domain',
        `${name}: an aggregate decides for the domain ${own}; give the process manager another domain for its own stream`,
      );
    }
    for (const { kind, name, domain } of this.#reactors.hosted()) {
      if (kind !== 'process_manager' || !aggregates.some((aggregate) => aggregate.domain === domain)) continue;
      throw invalid(
        'hello.aggregates.domain',
        `${domain}: the process manager ${name} keeps its streams in this domain; give one of the two another`,
      );
    }
  }

  #checkAppended(field: string, domain: string): void {
    const { owned } = this.#options;
    if (owned === undefined || owned.includes(domain)) return;
    throw invalid(field, `${domain}: not one of the domains that this daemon owns (${owned.join(', ')})`);
  }
}

function componentText({ name, version }: Hello): string {
  return `component ${JSON.stringify(name)}${version === '' ? '' : ` ${version}`}`;
}
