// `daybook subscriptions`, `pause` and `resume`: how far everything is, and stopping one of them.

import { ControlDefinition, type Subscription } from '../gen/daybook/v1/control.ts';
import { type ConnectOptions, call, daemonAddress } from './connect.ts';
import { durationText, millisecondsOf } from './durations.ts';
import { Columns, complain, print } from './output.ts';

export async function subscriptions(names: string[], options: ConnectOptions & { json?: boolean }): Promise<void> {
  const address = daemonAddress(options);
  const request = { subscriptions: names };
  const { subscriptions: found, head } = await call(address, ControlDefinition, 'listSubscriptions', request);
  if (options.json) {
    for (const each of found) await print(JSON.stringify(subscriptionJson(each, head)));
    return;
  }
  if (found.length === 0) return complain('no projector, saga or process manager was ever declared');
  const columns = new Columns([
    { title: 'NAME', width: Math.max(...found.map(({ name }) => name.length)) },
    { title: 'KIND', width: Math.max(...found.map(({ kind }) => kind.length)) },
    { title: 'GENERATION', right: true },
    { title: 'STATE', width: Math.max(...found.map(({ state }) => state.length)) },
    { title: 'POSITION', right: true, width: String(head).length },
    { title: 'LAG', right: true, width: 6 },
    { title: 'PARKED', right: true },
    { title: 'DEAD', right: true },
  ]);
  await print(columns.header());
  for (const each of found) {
    const { name, kind, generation, state, parked, dead } = each;
    const lag = lagOf(each);
    const numbers = [String(positionOf(each)), lag === undefined ? '-' : durationText(lag)];
    await print(columns.line([name, kind, String(generation), state, ...numbers, String(parked), String(dead)]));
  }
}

export async function pause(subscription: string, options: ConnectOptions): Promise<void> {
  await call(daemonAddress(options), ControlDefinition, 'pause', { subscription });
  await print(`${subscription} is paused: it stands still until daybook resume ${subscription}`);
}

export async function resume(subscription: string, options: ConnectOptions): Promise<void> {
  await call(daemonAddress(options), ControlDefinition, 'resume', { subscription });
  await print(`${subscription} goes on`);
}

/** Everything up to here is handled, or parked. */
function positionOf({ partitions }: Subscription): number {
  return partitions.reduce((least, { position }) => Math.min(least, position), Infinity);
}

/** Of the slowest partition, in milliseconds. */
function lagOf({ partitions }: Subscription): number | undefined {
  const lags = partitions.flatMap(({ lag }) => (lag === undefined ? [] : [millisecondsOf(lag)]));
  return lags.length === 0 ? undefined : Math.max(...lags);
}

function subscriptionJson(subscription: Subscription, head: number): object {
  const { name, kind, generation, filter, state, partitions, parked, dead } = subscription;
  const lag = lagOf(subscription);
  return {
    name,
    kind,
    generation,
    domains: filter?.domains,
    types: filter?.types,
    state,
    position: positionOf(subscription),
    head,
    lag_ms: lag,
    parked,
    dead,
    partitions: partitions.map(({ partition, position, owner, epoch, lag: behind }) => ({
      partition,
      position,
      owner: owner || undefined,
      epoch,
      lag_ms: behind && millisecondsOf(behind),
    })),
  };
}
