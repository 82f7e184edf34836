// The customers of the kill run: each places and confirms an order, pays it or not, and orders again. What was not answered is sent
// again with its key until it is.

import { setTimeout as sleep } from 'node:timers/promises';
import { type Any, type Client, type Command, pack, Rejected, rootOf } from '@daybook/client';
import {
  AddItem,
  ConfirmOrder,
  PlaceOrder,
  ReceivePayment,
  ReceiveStock,
} from '../../examples/shop/gen/shop/v1/shop.ts';
import { type Random, seeded } from '../support/random.ts';
import { REPEATED, reasonOf } from './load.ts';

export interface Ordered {
  orderNo: string;
  /** Pieces by article. */
  pieces: Map<string, number>;
  /** Something in it was never in stock. */
  impossible: boolean;
  /** The answer said so. */
  confirmed: boolean;
  paid: boolean;
}

/** There is enough of these for everybody, of SCARCE for some, and of NONE for nobody. */
const PLENTY = Array.from({ length: 20 }, (_, i) => `SKU-${i}`);
const SCARCE = 'SCARCE';
const NONE = 'NONE';

export class Customers {
  readonly orders: Ordered[] = [];
  /** Why commands were sent again, and how often. */
  readonly repeats = new Map<string, number>();
  readonly faults: string[] = [];
  answered = 0;
  readonly #clients: readonly Client[];
  readonly #seed: number;
  readonly #random: Random;
  #stopping = false;
  #workers: Promise<void>[] = [];

  /** A client for each daemon. */
  constructor(clients: readonly Client[], seed: number) {
    this.#clients = clients;
    this.#seed = seed;
    this.#random = seeded(seed);
  }

  async stock(): Promise<void> {
    const receive = (sku: string, quantity: number) =>
      this.#untilAnswered(`stock/${sku}`, 'inventory', sku, pack(ReceiveStock, { sku, quantity }));
    await Promise.all([...PLENTY.map((sku) => receive(sku, 1_000_000)), receive(SCARCE, 100)]);
  }

  start(count: number): void {
    this.#stopping = false;
    this.#workers = Array.from({ length: count }, () => this.#work());
  }

  /** Resolves when every command that was begun is answered. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#workers);
  }

  async #work(): Promise<void> {
    while (!this.#stopping) {
      const ordered = this.#next();
      const willPay = this.#random() < 0.5;
      const delayMs = this.#random() * 300;
      const { orderNo, pieces } = ordered;
      // Some articles in two lines: they become one reservation.
      const items = [...pieces].flatMap(([sku, quantity]) =>
        quantity > 3
          ? [
              [sku, 3],
              [sku, quantity - 3],
            ]
          : [[sku, quantity]],
      );
      const confirmed = await this.#untilAnswered(`order/${orderNo}`, 'order', orderNo, [
        pack(PlaceOrder, { orderNo, customer: 'Ada' }),
        ...items.map(([sku, quantity]) =>
          pack(AddItem, { sku: sku as string, name: 'thing', quantity: quantity as number, unitPence: 100 }),
        ),
        pack(ConfirmOrder, {}),
      ]);
      if (confirmed === 'failed') return;
      ordered.confirmed = true;
      await sleep(delayMs);
      if (willPay) ordered.paid = await this.#pay(orderNo);
    }
  }

  /** False: too late. */
  async #pay(orderNo: string): Promise<boolean> {
    const payload = pack(ReceivePayment, { reference: orderNo });
    for (let n = 0; ; n++) {
      const answer = await this.#untilAnswered(`pay/${orderNo}/${n}`, 'payment', orderNo, payload);
      if (answer === 'accepted') return true;
      if (answer !== 'NOTHING_TO_PAY') return false;
      // The process that asks for the payment has not come to it yet.
      await sleep(20);
    }
  }

  #next(): Ordered {
    const random = this.#random;
    const kind = random();
    const pieces = new Map<string, number>();
    const lines = random() < 0.4 ? 1 : 2 + Math.floor(random() * 3);
    const one = () => pieces.set(PLENTY[Math.floor(random() * PLENTY.length)]!, 1 + Math.floor(random() * 5));
    while (pieces.size < lines) one();
    if (kind < 0.15) pieces.set(NONE, 1);
    else if (kind < 0.3) pieces.set(SCARCE, 2);
    const orderNo = `${this.#seed}-${this.orders.length}`;
    const ordered = { orderNo, pieces, impossible: kind < 0.15, confirmed: false, paid: false };
    this.orders.push(ordered);
    return ordered;
  }

  /** `accepted`, the code of a rejection, or `failed`: a failure that no repeat can mend; it is among the faults. */
  async #untilAnswered(key: string, domain: string, of: string, payload: Any | Any[]): Promise<string> {
    const correlationId = domain === 'inventory' ? '' : of;
    const command: Command = {
      domain,
      root: rootOf(of),
      payload,
      idempotencyKey: `${this.#seed}/${key}`,
      ...(correlationId !== '' && { correlationId }),
    };
    for (;;) {
      try {
        const client = this.#clients[Math.floor(Math.random() * this.#clients.length)]!;
        await client.execute(command);
        this.answered++;
        return 'accepted';
      } catch (error) {
        if (error instanceof Rejected) {
          this.answered++;
          return error.rejectionCode;
        }
        const reason = reasonOf(error);
        if (!REPEATED.has(reason)) {
          this.faults.push(`${key} failed: ${reason}: ${error instanceof Error ? error.stack : error}`);
          return 'failed';
        }
        this.repeats.set(reason, (this.repeats.get(reason) ?? 0) + 1);
        await sleep(20 + 60 * Math.random());
      }
    }
  }
}
