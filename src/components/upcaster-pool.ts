import type { Upcaster } from '../component.ts';
import { DaybookError } from '../errors.ts';
import type { EventBook, EventPage } from '../model/book.ts';
import type { AttachedUpcaster } from './attached-upcaster.ts';
import type { Attachment } from './attachment.ts';

/** All processes that are attached as the upcaster of one domain. The one that came last knows the most. */
export class UpcasterPool implements Upcaster {
  readonly domain: string;
  readonly #upcasters = new Map<Attachment, AttachedUpcaster>();

  constructor(domain: string) {
    this.domain = domain;
  }

  /** Without anybody to ask, any event may be old. */
  get types(): ReadonlySet<string> | undefined {
    return this.#newest()?.types;
  }

  add(attachment: Attachment, upcaster: AttachedUpcaster): void {
    this.#upcasters.set(attachment, upcaster);
  }

  remove(attachment: Attachment): void {
    this.#upcasters.delete(attachment);
  }

  async upcast(book: EventBook): Promise<EventPage[]> {
    const upcaster = this.#newest();
    if (upcaster !== undefined) return upcaster.upcast(book);
    throw new DaybookError(
      'COMPONENT_UNAVAILABLE',
      `${this.domain}: its events need an upcaster, and none is attached now`,
      { metadata: { component: this.domain }, retryDelayMs: 200 },
    );
  }

  #newest(): AttachedUpcaster | undefined {
    let newest: AttachedUpcaster | undefined;
    for (const [attachment, upcaster] of this.#upcasters) if (!attachment.draining) newest = upcaster;
    return newest;
  }
}
