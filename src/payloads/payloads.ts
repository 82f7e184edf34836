// What this daemon knows about its users' payloads, for showing them to people. Nothing of it is needed to store or deliver them, and
// little of it is done before somebody asks.

import type { Any } from '../model/book.ts';
import { typeName } from '../model/book.ts';
import type { Runtime } from '../runtime.ts';
import type { Logger } from '../telemetry/log.ts';
import { DescriptorSets, setOf } from './descriptor-sets.ts';
import type { PayloadTypes } from './payload-types.ts';
import { describe } from './text.ts';

export interface PayloadsParts {
  /** From the files of the configuration. */
  descriptors: readonly { path: string; bytes: Uint8Array }[];
  /** Components that may offer reflection. */
  served: readonly { domain: string; address: string }[];
  /** Full names of types that the log holds of this domain: what to ask the reflection of its component for. */
  typesOf(domain: string): Promise<string[]>;
  runtime: Runtime;
  log: Logger;
}

/** A served component is asked again after this, when there is something to ask. */
const ASK_AGAIN_MS = 10_000;
const ASK_TIMEOUT_MS = 2_000;
/** Of types that a component did not know. Then all are asked for again. */
const UNKNOWN_MAX = 1000;

interface ServedTypes {
  domain: string;
  address: string;
  files: Map<string, Uint8Array>;
  unknown: Set<string>;
  askedAtMs: number;
  asking: Promise<void> | undefined;
}

export class Payloads {
  readonly #parts: PayloadsParts;
  readonly #sets: DescriptorSets;
  readonly #served: ServedTypes[];
  #types: { changes: number; types: Promise<PayloadTypes> } | undefined;

  constructor(parts: PayloadsParts) {
    this.#parts = parts;
    this.#sets = new DescriptorSets(parts.descriptors.map(({ path, bytes }) => ({ source: path, bytes })));
    this.#served = parts.served.map(({ domain, address }) => ({
      domain,
      address,
      files: new Map(),
      unknown: new Set(),
      askedAtMs: Number.NEGATIVE_INFINITY,
      asking: undefined,
    }));
  }

  /** A component brought a descriptor set along. INVALID_ARGUMENT when it is none. */
  tell(component: string, bytes: Uint8Array): void {
    this.#sets.tell(component, bytes);
  }

  /** A serialized FileDescriptorSet of all that is known, each type once. */
  async descriptors(): Promise<Uint8Array> {
    await Promise.all(
      this.#served.map(async (served) => this.#askFor(served, await this.#parts.typesOf(served.domain))),
    );
    return (await this.#known()).bytes;
  }

  /** Type and content, or type and size. */
  async describe(domain: string, payload: Any): Promise<string> {
    const served = this.#served.find((each) => each.domain === domain);
    if (served !== undefined) await this.#askFor(served, [typeName(payload.typeUrl)]);
    return describe(payload, await this.#known());
  }

  #known(): Promise<PayloadTypes> {
    const { changes } = this.#sets;
    if (this.#types?.changes === changes) return this.#types.types;
    const types = import('./payload-types.ts').then(({ PayloadTypes }) => {
      const known = new PayloadTypes(this.#sets.byWeight);
      for (const complaint of known.complaints) this.#parts.log.warn({}, complaint);
      return known;
    });
    this.#types = { changes, types };
    return types;
  }

  /** Asks at most once at a time and in a while. Nothing comes of it when there is no reflection. */
  async #askFor(served: ServedTypes, types: readonly string[]): Promise<void> {
    await served.asking;
    const now = this.#parts.runtime.monotonicMs();
    if (now - served.askedAtMs < ASK_AGAIN_MS) return;
    const known = await this.#known();
    const wanted = types.filter((type) => !known.has(type) && !served.unknown.has(type));
    const first = served.askedAtMs === Number.NEGATIVE_INFINITY;
    if (!first && wanted.length === 0) return;
    if (served.asking === undefined) {
      served.askedAtMs = now;
      served.asking = this.#ask(served, wanted).finally(() => {
        served.asking = undefined;
      });
    }
    await served.asking;
  }

  async #ask(served: ServedTypes, wanted: readonly string[]): Promise<void> {
    const { domain, address, files, unknown } = served;
    try {
      const { askReflection } = await import('./reflection.ts');
      const deadlineMs = this.#parts.runtime.nowMicros() / 1000 + ASK_TIMEOUT_MS;
      const answer = await askReflection(address, wanted, new Set(files.keys()), deadlineMs);
      if (answer.files.size > 0) {
        for (const [name, file] of answer.files) files.set(name, file);
        this.#sets.replace(`the component of ${domain} at ${address}`, setOf(files.values()));
      }
      const known = await this.#known();
      if (unknown.size > UNKNOWN_MAX) unknown.clear();
      for (const type of wanted) if (!known.has(type)) unknown.add(type);
    } catch (err) {
      this.#parts.log.debug({ domain, address, err }, 'no descriptors by reflection');
    }
  }
}
