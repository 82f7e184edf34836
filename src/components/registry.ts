// Who hosts what, right now. Served components come from the configuration, attached ones come and go.

import type { AggregateComponent, Components, Decision, DecisionRequest, HostNeeds } from '../component.ts';
import type { Deadlines } from '../deadlines.ts';
import { DaybookError, invalid } from '../errors.ts';
import type { ComponentMessage, Hello } from '../gen/daybook/v1/component.ts';
import type { StreamKey } from '../model/stream.ts';
import type { Runtime } from '../runtime.ts';
import type { AttachedAggregate } from './attached-aggregate.ts';
import { Attachment } from './attachment.ts';
import { type AttachChannel, Outbox } from './outbox.ts';

export interface Attached {
  readonly attachment: Attachment;
  readonly outbox: Outbox;
  receive(message: ComponentMessage): void;
  /** The stream is gone. */
  close(): void;
}

export class ComponentRegistry implements Components {
  readonly #runtime: Runtime;
  readonly #deadlines: Deadlines;
  readonly #owned: readonly string[] | undefined;
  readonly #served = new Map<string, AggregateComponent>();
  readonly #pools = new Map<string, AttachedPool>();
  readonly #attachments = new Set<Attachment>();
  #attached = 0;

  /** `owned`: the only domains that this daemon appends to; absent: whatever components host. */
  constructor(
    runtime: Runtime,
    deadlines: Deadlines,
    owned: readonly string[] | undefined,
    served: readonly AggregateComponent[],
  ) {
    this.#runtime = runtime;
    this.#deadlines = deadlines;
    this.#owned = owned;
    for (const component of served) this.#served.set(component.domain, component);
  }

  aggregate(domain: string): AggregateComponent | undefined {
    const served = this.#served.get(domain);
    if (served !== undefined) return served;
    const pool = this.#pools.get(domain);
    return pool?.available ? pool : undefined;
  }

  knowsDomain(domain: string): boolean {
    return this.#served.has(domain) || this.#pools.has(domain) || (this.#owned?.includes(domain) ?? false);
  }

  get attachments(): ReadonlySet<Attachment> {
    return this.#attachments;
  }

  /** A component has introduced itself. Throws when it cannot be accepted. */
  attach(hello: Hello, channel: AttachChannel): Attached {
    for (const { domain } of hello.aggregates) this.#checkOwned(domain);
    const outbox = new Outbox(channel);
    const attachment = new Attachment(++this.#attached, hello, outbox, this.#runtime, this.#deadlines);
    this.#attachments.add(attachment);
    for (const aggregate of attachment.aggregates) this.#pool(aggregate.domain).add(attachment, aggregate);
    return {
      attachment,
      outbox,
      receive: (message) => attachment.receive(message),
      close: () => {
        if (!this.#attachments.delete(attachment)) return;
        for (const aggregate of attachment.aggregates) this.#pool(aggregate.domain).remove(attachment);
        attachment.close();
          },
    };
  }

  /** Says good-bye to every attached component; `timeoutMs` is how long the daemon is still there. */
  async drain(timeoutMs: number): Promise<void> {
    await Promise.all([...this.#attachments].map((attachment) => attachment.drain(timeoutMs)));
  }

  #pool(domain: string): AttachedPool {
    let pool = this.#pools.get(domain);
    if (pool === undefined) {
      pool = new AttachedPool(domain);
      this.#pools.set(domain, pool);
    }
    return pool;
  }

  #checkOwned(domain: string): void {
    if (this.#served.has(domain)) {
      throw invalid('hello.aggregates.domain', `${domain}: the configuration names a served component for this domain`);
    }
    if (this.#owned !== undefined && !this.#owned.includes(domain)) {
      throw invalid(
        'hello.aggregates.domain',
        `${domain}: not one of the domains that this daemon owns (${this.#owned.join(', ')})`,
      );
    }
  }
}

/** All processes that are attached for one domain. */
class AttachedPool implements AggregateComponent {
  readonly domain: string;
  readonly #hosts = new Map<Attachment, AttachedAggregate>();

  constructor(domain: string) {
    this.domain = domain;
  }

  get available(): boolean {
    for (const attachment of this.#hosts.keys()) if (!attachment.draining) return true;
    return false;
  }

  add(attachment: Attachment, aggregate: AttachedAggregate): void {
    this.#hosts.set(attachment, aggregate);
  }

  remove(attachment: Attachment): void {
    this.#hosts.delete(attachment);
  }

  needs(stream: StreamKey, streamText: string): HostNeeds {
    return this.#hostOf(stream.root)?.needs(streamText) ?? { heldUpTo: 0, snapshotVersion: 0 };
  }

  decide(request: DecisionRequest): Promise<Decision> {
    const host = this.#hostOf(request.stream.root);
    if (host !== undefined) return host.decide(request);
    throw new DaybookError('COMPONENT_UNAVAILABLE', `${this.domain}: no host of this domain is attached`, {
      metadata: { component: this.domain },
      retryDelayMs: 200,
    });
  }

  /**
   * An aggregate stays with one process while that is there, and only the aggregates of one that goes move (rendezvous hashing:
   * the host with the highest score for this root).
   */
  #hostOf(root: Uint8Array): AttachedAggregate | undefined {
    let best: AttachedAggregate | undefined;
    let bestScore = -1;
    for (const [attachment, aggregate] of this.#hosts) {
      if (attachment.draining) continue;
      if (this.#hosts.size === 1) return aggregate;
      const score = mix(root, attachment.id);
      if (score > bestScore) {
        best = aggregate;
        bestScore = score;
      }
    }
    return best;
  }
}

/** FNV-1a over the root, seeded and finished so that neighbouring seeds differ everywhere. */
function mix(root: Uint8Array, seed: number): number {
  let hash = Math.imul(seed, 0x9e3779b1) ^ 0x811c9dc5;
  for (let i = 0; i < root.length; i++) hash = Math.imul(hash ^ root[i]!, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}
