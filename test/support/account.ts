// The account: Deposit and Withdraw amounts; a withdrawal beyond the balance is rejected. Decides from the history alone.

import type { AggregateComponent, Components, Decision, DecisionRequest, HostNeeds } from '../../src/component.ts';
import type { CommandBook, EventBook, Snapshot } from '../../src/model/book.ts';
import { any, eventBook, textOf, typeOf } from './books.ts';

export function balanceOf(history: Pick<EventBook, 'pages'> & { snapshot?: Snapshot | undefined }): number {
  let balance = history.snapshot === undefined ? 0 : Number(textOf(history.snapshot.state));
  for (const page of history.pages) {
    const amount = Number(textOf(page.event));
    balance += typeOf(page.event) === 'Deposited' ? amount : -amount;
  }
  return balance;
}

/** One answer for all pages: the first page that is refused rejects the book. */
export function decideAccount(balance: number, command: CommandBook): Decision {
  const events = [];
  for (const [page, { command: payload }] of command.pages.entries()) {
    const amount = Number(textOf(payload));
    switch (typeOf(payload)) {
      case 'Deposit':
        balance += amount;
        events.push(any('Deposited', textOf(payload)));
        break;
      case 'Withdraw':
        if (amount > balance) {
          const message = `a balance of ${balance} does not cover ${amount}`;
          return {
            kind: 'rejection',
            rejection: { kind: 2, code: 'INSUFFICIENT_FUNDS', message, details: undefined, page },
          };
        }
        balance -= amount;
        events.push(any('Withdrawn', String(amount)));
        break;
      case 'Touch':
        break;
      default:
        throw new Error(`no such command: ${typeOf(payload)}`);
    }
  }
  return { kind: 'events', book: eventBook(events) };
}

/** An account in this process. `before` may hold a decision up, or replace it. */
export class InProcessAccount implements AggregateComponent {
  readonly domain: string;
  asked = 0;
  lastRequest: DecisionRequest | undefined;
  before: ((request: DecisionRequest) => Promise<Decision | undefined>) | undefined;

  constructor(domain = 'account') {
    this.domain = domain;
  }

  needs(): HostNeeds {
    return { heldUpTo: 0, snapshotVersion: 0 };
  }

  async decide(request: DecisionRequest): Promise<Decision> {
    this.asked++;
    this.lastRequest = request;
    const replaced = await this.before?.(request);
    if (replaced !== undefined) return replaced;
    let balance = 0;
    for await (const part of request.history.parts(0, 0, 1 << 20)) {
      if (part.snapshot !== undefined) balance = balanceOf({ pages: [], snapshot: part.snapshot });
      balance += balanceOf({ pages: part.pages });
    }
    return decideAccount(balance, request.command);
  }
}

export function componentsOf(...components: AggregateComponent[]): Components {
  return {
    aggregate: (domain) => components.find((component) => component.domain === domain),
    upcaster: () => undefined,
    hasUpcasters: false,
    knowsDomain: (domain) => components.some((component) => component.domain === domain),
    reactors: () => [],
    onReactorsChanged: () => {},
  };
}
