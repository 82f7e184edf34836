// Checks from the database alone what became of the orders. Shares no code with the daemon and no rule with the shop: it reads the
// tables by itself, and knows the shop's messages only.

import type { MessageType } from '@daybook/client';
import {
  OrderCancelled,
  OrderConfirmed,
  OrderPlaced,
  OrderSummary,
  StockLevel,
  StockReceived,
  StockReleased,
  StockReserved,
} from '../../examples/shop/gen/shop/v1/shop.ts';
import type { Ordered } from './customers.ts';
import type { EventRow, Tables } from './tables.ts';
import type { Counted } from './witness.ts';

interface Origin {
  component?: string;
  source?: { domain: string; root: string };
  sourceSequence?: number;
  index?: number;
}

interface Event {
  position: number;
  type: string;
  payload: Uint8Array;
}

/** Of one article. */
interface Article {
  sku: string;
  onHand: number;
  reserved: number;
  /** By the root of the order: what was reserved for it, and released, each time. */
  orders: Map<string, { reserved: number[]; released: number[] }>;
}

export interface Figures {
  events: number;
  orders: number;
  paid: number;
  out_of_stock: number;
  not_paid_in_time: number;
  refunds: number;
  reservations: number;
  releases: number;
  timers_fired: number;
  effects: number;
}

export class FulfilmentAuditor {
  readonly faults: string[] = [];
  /** Everything at or below was read. */
  position = 0;
  readonly #tables: Tables;
  /** By `domain/root`. */
  readonly #streams = new Map<string, Event[]>();
  readonly #articles = new Map<string, Article>();
  /** What a component did because of what: the unit that holds it. */
  readonly #effects = new Map<string, string>();

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** Reads what is new, and checks what must be so at any time. */
  async read(): Promise<void> {
    const { events } = await this.#tables.read(this.position);
    for (const row of events) this.#take(row);
  }

  /** Sentences about what is still to be done; none: everything has settled. */
  async open(): Promise<string[]> {
    const { last } = await this.#tables.read(this.position);
    const left: [string, number][] = [];
    for (const table of ['outbox', 'parked', 'timers', 'done'] as const)
      left.push([`rows in ${table}`, await this.#tables.count(table)]);
    left.push(['cursors behind the log', await this.#tables.cursorsBehind(last)]);
    return left.filter(([, n]) => n > 0).map(([what, n]) => `${n} ${what}`);
  }

  /** When everything has settled. Also compares with what the customers were told. */
  async settled(told: readonly Ordered[]): Promise<Figures> {
    await this.read();
    for (const sentence of await this.open()) this.#fault(`left over: ${sentence}`);
    const expected = new Map(told.map((ordered) => [ordered.orderNo, ordered]));
    const figures = {
      events: this.position,
      orders: 0,
      paid: 0,
      out_of_stock: 0,
      not_paid_in_time: 0,
      refunds: 0,
      reservations: 0,
      releases: 0,
      timers_fired: 0,
      effects: this.#effects.size,
    };
    const statuses = new Map<string, string>();
    const processes = this.#watches();
    for (const [name, events] of this.#streams) {
      if (!name.startsWith('order/')) continue;
      const root = name.slice('order/'.length);
      const { orderNo } = decoded(OrderPlaced, events[0]!);
      const ordered = expected.get(orderNo);
      expected.delete(orderNo);
      if (ordered === undefined) this.#fault(`order ${orderNo}: in the log, and nobody asked for it`);
      else statuses.set(orderNo, this.#settledOrder(root, orderNo, events, ordered, figures));
      this.#witnessed(root, orderNo, events, processes, figures);
    }
    for (const { orderNo, confirmed } of expected.values()) {
      if (confirmed) this.#fault(`order ${orderNo}: acknowledged, and not in the log`);
    }
    for (const article of this.#articles.values()) {
      for (const { reserved, released } of article.orders.values()) {
        figures.reservations += reserved.length;
        figures.releases += released.length;
      }
    }
    await this.#readModels(statuses);
    return figures;
  }

  #take(row: EventRow): void {
    if (row.position !== this.position + 1) this.#fault(`position ${this.position} is followed by ${row.position}`);
    this.position = row.position;
    const name = `${row.domain}/${Buffer.from(row.root).toString('hex')}`;
    const events = this.#streams.get(name) ?? [];
    this.#streams.set(name, events);
    if (row.sequence !== events.length)
      this.#fault(`position ${row.position}: sequence ${row.sequence} of ${name}, expected ${events.length}`);
    const event = {
      position: row.position,
      type: row.type_url.slice(row.type_url.lastIndexOf('/') + 1),
      payload: row.payload,
    };
    events.push(event);
    this.#takeOrigin(row, name);
    if (row.domain === 'inventory') this.#takeStock(name, event);
  }

  /** What one component did to one aggregate because of one event is there once: in one unit. */
  #takeOrigin({ position, origin, unit_id }: EventRow, target: string): void {
    const { component, source, sourceSequence = 0, index = 0 } = JSON.parse(origin ?? '{}') as Origin;
    // What a timer led to has no source: the witnesses tell about timers. Steps of a process follow one another in its own stream.
    if (component === undefined || source === undefined || OWN_STREAMS.test(target)) return;
    const effect = `${component}: output ${index} for ${source.domain}/${source.root}#${sourceSequence} to ${target}`;
    const unit = Buffer.from(unit_id).toString('hex');
    const known = this.#effects.get(effect);
    if (known !== undefined && known !== unit) this.#fault(`position ${position}: ${effect} is there a second time`);
    this.#effects.set(effect, unit);
  }

  #takeStock(name: string, event: Event): void {
    const article = this.#articles.get(name) ?? { sku: '', onHand: 0, reserved: 0, orders: new Map() };
    this.#articles.set(name, article);
    if (event.type === StockReceived.$type) {
      const { sku, quantity } = decoded(StockReceived, event);
      article.sku = sku;
      article.onHand += quantity;
      return;
    }
    const released = event.type === StockReleased.$type;
    const { order, quantity } = decoded(released ? StockReleased : StockReserved, event);
    const root = Buffer.from(order).toString('hex');
    const of = article.orders.get(root) ?? { reserved: [], released: [] };
    article.orders.set(root, of);
    of[released ? 'released' : 'reserved'].push(quantity);
    article.reserved += released ? -quantity : quantity;
    if (article.reserved < 0 || article.reserved > article.onHand)
      this.#fault(`position ${event.position}: ${article.reserved} of ${article.onHand} ${article.sku} are reserved`);
  }

  /** Paid with everything reserved, or cancelled with everything released; and the money is where it belongs. Returns the status. */
  #settledOrder(root: string, orderNo: string, events: Event[], told: Ordered, figures: Figures): string {
    const fault = (what: string) => this.#fault(`order ${orderNo}: ${what}`);
    const count = (type: string) => events.filter((event) => event.type === `shop.v1.${type}`).length;
    const [confirmed, paid, cancelled] = [count('OrderConfirmed'), count('OrderPaid'), count('OrderCancelled')];
    const refunds = count('RefundDue');
    const received = (this.#streams.get(`payment/${root}`) ?? []).filter(({ type }) =>
      type.endsWith('PaymentReceived'),
    );
    if (confirmed !== 1) fault(`confirmed ${confirmed} times`);
    if (paid > 1 || cancelled > 1 || refunds > 1 || received.length > 1 || paid + cancelled === 0)
      fault(`paid ${paid}, cancelled ${cancelled}, refunds ${refunds}, payments ${received.length}`);
    if (told.impossible && cancelled !== 1) fault('was not cancelled, and some of it was never there');
    if (told.paid && received.length !== 1) fault('the payment was acknowledged, and is not in the log');
    const kept = paid === 1 && cancelled === 0;
    if (received.length !== (kept ? 1 : refunds)) fault(`${received.length} payments, and ${refunds} refunds`);
    this.#settledStock(root, told, kept, fault);

    figures.orders++;
    figures.refunds += refunds;
    if (kept) {
      figures.paid++;
      return 'paid';
    }
    const off = events.find(({ type }) => type === OrderCancelled.$type);
    const inTime = off === undefined || decoded(OrderCancelled, off).reason !== 'not paid in time';
    figures[inTime ? 'out_of_stock' : 'not_paid_in_time']++;
    return 'cancelled';
  }

  #settledStock(root: string, told: Ordered, kept: boolean, fault: (what: string) => void): void {
    const wanted = new Map(told.pieces);
    for (const { sku, orders } of this.#articles.values()) {
      const { reserved = [], released = [] } = orders.get(root) ?? {};
      const pieces = wanted.get(sku);
      wanted.delete(sku);
      const right = reserved.length === 0 || (reserved.length === 1 && reserved[0] === pieces);
      const settled = kept ? reserved.length === (pieces === undefined ? 0 : 1) && released.length === 0 : true;
      const balanced = kept || String(reserved) === String(released);
      if (!right || !settled || !balanced)
        fault(`${pieces ?? 0} ${sku} wanted, reserved [${reserved}], released [${released}]${kept ? ', paid' : ''}`);
    }
    if (kept && wanted.size > 0) fault(`paid, and nothing of ${[...wanted.keys()]} was ever reserved`);
  }

  /** See witness.ts: every effect is there once and in order. */
  #witnessed(
    root: string,
    orderNo: string,
    order: Event[],
    processes: ReadonlyMap<number, Event[]>,
    figures: Figures,
  ): void {
    const compare = (what: string, found: unknown[], expected: unknown[]) => {
      if (JSON.stringify(found) !== JSON.stringify(expected))
        this.#fault(`order ${orderNo}, ${what}: ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
    };
    const watched = order.filter(({ type }) => WATCHED.has(type));
    const tally = this.#streams.get(`tally/${root}`) ?? [];
    const counted = tally.filter(({ type }) => type === 'witness.Counted');
    compare(
      'counted',
      counted.map((event) => json<Counted>(event)).map(({ position, index }) => [position, index]),
      watched.flatMap(({ position }) => [0, 1, 2].map((index) => [position, index])),
    );
    compare(
      'refused counts',
      tally.filter(({ type }) => type === 'witness.Refused').map((event) => json<{ sequence: number }>(event).sequence),
      tally.flatMap(({ type }, sequence) => (type === 'witness.Counted' ? [sequence] : [])),
    );

    const process = processes.get(order.find(({ type }) => type === OrderConfirmed.$type)?.position ?? 0) ?? [];
    const of = (...types: string[]) => process.filter(({ type }) => types.includes(type.replace('witness.', '')));
    const heard = of('Began', 'Closed', 'Late').map((event) => json<{ position: number }>(event).position);
    compare(
      'watched',
      heard,
      watched.map(({ position }) => position),
    );
    compare('refusals of the watch', [of('Refused').length], [1]);
    const fired = of('Fired').length;
    figures.timers_fired += fired;
    // Fired, or cancelled by whatever was the first news after the beginning; never both.
    compare('endings of the watch', [fired + of('Closed').length], [1]);
  }

  /** Rows are sums: an event that was handled twice, or not at all, shows in them. */
  async #readModels(statuses: ReadonlyMap<string, string>): Promise<void> {
    const rows = await this.#tables.projections();
    const confirmations = this.#confirmations();
    const of = (projector: string) => rows.filter((row) => row.projector === projector);
    const summaries = of('order-summary').map(({ payload }) => OrderSummary.decode(payload));
    if (summaries.length !== statuses.size) this.#fault(`${statuses.size} orders, ${summaries.length} summaries`);
    for (const { orderNo, status, items, totalPence } of summaries) {
      if (status !== statuses.get(orderNo))
        this.#fault(`order ${orderNo}: ${statuses.get(orderNo)}, shown as ${status}`);
      const agreed = confirmations.get(orderNo);
      if (agreed?.totalPence !== totalPence || agreed.pieces !== items)
        this.#fault(`order ${orderNo}: shown with ${items} pieces for ${totalPence}`);
    }
    const levels = new Map(
      of('stock-levels').map(({ payload }) => [StockLevel.decode(payload).sku, StockLevel.decode(payload)]),
    );
    for (const { sku, onHand, reserved } of this.#articles.values()) {
      const level = levels.get(sku);
      if (level?.onHand !== onHand || level.reserved !== reserved)
        this.#fault(`${sku}: ${onHand} on hand, ${reserved} reserved, shown as ${JSON.stringify(level)}`);
    }
  }

  /** What the customers agreed to, by number of the order. */
  #confirmations(): Map<string, { totalPence: number; pieces: number }> {
    const found = new Map<string, { totalPence: number; pieces: number }>();
    for (const event of [...this.#streams.values()].flat()) {
      if (event.type !== OrderConfirmed.$type) continue;
      const { orderNo, totalPence, lines } = decoded(OrderConfirmed, event);
      found.set(orderNo, { totalPence, pieces: lines.reduce((sum, { quantity }) => sum + quantity, 0) });
    }
    return found;
  }

  /** What the watch noted of each order, by the position of the order's confirmation. */
  #watches(): Map<number, Event[]> {
    const found = new Map<number, Event[]>();
    for (const events of this.#streams.values()) {
      const began = events.find(({ type }) => type === 'witness.Began');
      if (began !== undefined) found.set(json<{ position: number }>(began).position, events);
    }
    return found;
  }

  #fault(what: string): void {
    this.faults.push(what);
  }
}

const OWN_STREAMS = /^(watch|payment-process)\//;
const WATCHED = new Set(['OrderConfirmed', 'OrderPaid', 'OrderCancelled'].map((type) => `shop.v1.${type}`));

function decoded<T>(type: MessageType<T>, event: Event): T {
  return type.decode(event.payload);
}

function json<T>({ payload }: Event): T {
  return JSON.parse(Buffer.from(payload).toString()) as T;
}
