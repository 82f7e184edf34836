// Components beside the shop that hide nothing. The shop forgives what comes twice, as it should; here every effect leaves an event of
// its own, so that whoever reads the log sees what was lost, doubled or out of order.
//
//   counting  (saga)     each event of an order → two commands and a fact to the order's tally
//   echo      (saga)     each count in a tally → a command to the wall, which refuses → the tally is told
//   watch     (process)  a timer for each order, cancelled when the order is paid or off; a command to the wall, and its refusal

import {
  type Aggregate,
  type Any,
  type ProcessManager,
  type ReactionCommand,
  Rejection,
  RejectionNotification,
  type Saga,
  typeName,
  unpack,
} from '@daybook/client';
import { OrderCancelled, OrderConfirmed, OrderPaid } from '../../examples/shop/gen/shop/v1/shop.ts';

/** What counting wants to have counted: the event's position, and the n-th of what it asks for. */
export interface Counted {
  position: number;
  index: number;
}

export function payload(type: string, content: object): Any {
  return { typeUrl: `type.test/witness.${type}`, value: Buffer.from(JSON.stringify(content)) };
}

export const tally: Aggregate<null> = {
  domain: 'tally',
  initial: () => null,
  evolve: () => null,
  decide: (_, commands) =>
    commands.map((command) => {
      if (typeName(command) !== RejectionNotification.$type)
        return { ...command, typeUrl: 'type.test/witness.Counted' };
      return payload('Refused', { sequence: unpack(RejectionNotification, command).sourceSequence });
    }),
};

export const wall: Aggregate<null> = {
  domain: 'wall',
  initial: () => null,
  evolve: () => null,
  decide() {
    throw new Rejection('WALL', 'a wall agrees to nothing');
  },
};

const ORDER = { domains: ['order'], types: [OrderConfirmed, OrderPaid, OrderCancelled].map((type) => type.$type) };

export const counting: Saga = {
  name: 'counting',
  ...ORDER,
  react: (_, { root, page: { position } }) => ({
    commands: [0, 1].map((index) => ({ domain: 'tally', root, payload: payload('Count', { position, index }) })),
    facts: [{ domain: 'tally', root, event: payload('Counted', { position, index: 2 }) }],
  }),
};

export const echo: Saga = {
  name: 'echo',
  domains: ['tally'],
  types: ['witness.Counted'],
  react: (_, { root }) => [toWall(root)],
};

/** Never ended: a second timer, or a late one, would be seen. */
export function watch(patienceMs: number): ProcessManager<{ open: boolean }> {
  return {
    name: 'watch',
    ...ORDER,
    initial: () => ({ open: false }),
    evolve: (state, event) => {
      const name = typeName(event);
      return name === 'witness.Refused' ? state : { open: name === 'witness.Began' };
    },
    handle({ open }, trigger) {
      if (trigger.kind === 'timer') return { events: [payload('Fired', {})] };
      if (trigger.kind === 'rejection') return { events: [payload('Refused', {})] };
      const { event, root, page } = trigger;
      const about = { position: page.position };
      if (typeName(event) === OrderConfirmed.$type) {
        return {
          events: [payload('Began', about)],
          commands: [toWall(root)],
          timers: [{ name: 'patience', afterMs: patienceMs }],
        };
      }
      return { events: [payload(open ? 'Closed' : 'Late', about)], cancelTimers: ['patience'] };
    },
  };
}

function toWall(root: Uint8Array): ReactionCommand {
  return { domain: 'wall', root, payload: payload('Ask', {}) };
}
