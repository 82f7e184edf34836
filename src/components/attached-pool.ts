import type { AggregateComponent, Decision, DecisionRequest, HostNeeds } from '../component.ts';
import { DaybookError } from '../errors.ts';
import type { StreamKey } from '../model/stream.ts';
import type { AttachedAggregate } from './attached-aggregate.ts';
import type { Attachment } from './attachment.ts';

/** All processes that are attached for one domain. */
export class AttachedPool implements AggregateComponent {
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
