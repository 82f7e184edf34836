// What the blocks of a configuration mean together.

import { resolve } from 'node:path';
import { type HostPort, hostPortText, isLoopback, readHostPort } from './addresses.ts';
import { type Blocks, SSL_MODES } from './blocks.ts';
import { nameOf, ownDomain, type ServedComponent } from './components.ts';
import { type Limits, snakeCase } from './limits.ts';
import { type Fault, type Path, shown } from './tree.ts';

export function blockFaults(blocks: Partial<Blocks>, cwd: string): Fault[] {
  const { storage, bus, listen, peers, domains, components, routes, limits } = blocks;
  const faults: Fault[] = [];
  const fault = (path: Path, sentence: string) => faults.push({ path, sentence });
  if (storage?.type === 'redis') {
    fault(['storage', 'type'], 'redis is not built yet: this version of Daybook stores in sqlite, postgres or memory');
  }
  if (storage?.type === 'postgres') postgresFaults(storage, fault);
  if (bus !== undefined && bus.type !== 'channel') {
    fault(['bus', 'type'], `${bus.type} is not built yet: this version of Daybook has the channel bus only`);
  }
  if (listen !== undefined) listenFaults(listen, cwd, fault);
  if (peers !== undefined) peersFaults(peers, listen?.peers ?? 'off', fault);
  for (const [i, name] of (domains ?? []).entries()) {
    if (domains!.indexOf(name) !== i) fault(['domains', i], `${name} is named twice`);
  }
  for (const [i, entry] of (components ?? []).entries()) {
    const path = ['components', i];
    const told = nameFault(entry, components!.slice(0, i));
    if (told !== undefined) fault([...path, entry.kind], told);
    const own = ownDomain(entry);
    if (domains !== undefined && own !== undefined && !domains.includes(own)) {
      const key = entry.kind === 'process_manager' && own !== entry.declaration.name ? 'domain' : entry.kind;
      fault([...path, key], `expected one of this daemon's domains (${domains.join(', ')}), found ${own}`);
    }
    if (listen !== undefined && listen.address !== 'off' && same(readHostPort(entry.address), listen.address)) {
      fault([...path, 'address'], `${entry.address} is listen.address, where Daybook itself answers`);
    }
  }
  if (routes !== undefined) {
    const owned = [...(domains ?? []), ...(components ?? []).map(ownDomain)];
    for (const name of Object.keys(routes)) {
      if (owned.includes(name)) fault(['routes', name], `${name} is owned here, so no route may lead elsewhere`);
    }
    fault(['routes'], 'routes to other services come with a later version of Daybook');
  }
  if (limits !== undefined) limitFaults(limits, fault);
  return faults;
}

/** A name is one component's: that of a projector, saga or process manager is also its subscription's, whatever the kind. */
function nameFault(entry: ServedComponent, before: readonly ServedComponent[]): string | undefined {
  const reacts = 'declaration' in entry;
  const first = before.findIndex(
    (other) => nameOf(other) === nameOf(entry) && (other.kind === entry.kind || (reacts && 'declaration' in other)),
  );
  if (first === -1) return undefined;
  if (!reacts) return `components[${first}] serves ${entry.domain} already`;
  const other = before[first]!.kind;
  return other === entry.kind
    ? `components[${first}] is ${entry.declaration.name} already`
    : `${entry.declaration.name} is the name of components[${first}], a ${other.replace('_', ' ')}, already`;
}

const PARTITION_EVENTS_MIN = 100_000;

function postgresFaults(storage: Extract<Blocks['storage'], { type: 'postgres' }>, fault: AddFault): void {
  const given = new URL(storage.connection_string.reveal()).searchParams.get('sslmode');
  const mode = storage.sslmode ?? given ?? 'disable';
  if (!SSL_MODES.some((known) => known === mode)) {
    fault(['storage', 'connection_string'], `expected sslmode as one of ${SSL_MODES.join(', ')}, found ${shown(mode)}`);
  } else if (storage.ssl_ca_file !== undefined && !mode.startsWith('verify-')) {
    fault(['storage', 'ssl_ca_file'], `means nothing with sslmode ${mode}: expected verify-ca or verify-full`);
  }
  if (storage.partition_events > 0 && storage.partition_events < PARTITION_EVENTS_MIN) {
    fault(
      ['storage', 'partition_events'],
      `expected 0 or at least ${PARTITION_EVENTS_MIN}, found ${storage.partition_events}`,
    );
  }
}

type AddFault = (path: Path, sentence: string) => void;

function listenFaults(listen: Blocks['listen'], cwd: string, fault: AddFault): void {
  const { address, socket, health, peers, allow_remote } = listen;
  // The shortest limit among the operating systems that Daybook runs on.
  if (socket !== undefined && Buffer.byteLength(resolve(cwd, socket)) > 103) {
    fault(
      ['listen', 'socket'],
      `expected a path of at most 103 bytes, found ${Buffer.byteLength(resolve(cwd, socket))}`,
    );
  }
  if (address === 'off') {
    if (socket === undefined) fault(['listen', 'address'], 'is off and there is no listen.socket: nobody could call');
    return;
  }
  if (!isLoopback(address.host) && !allow_remote) {
    fault(
      ['listen', 'address'],
      `expected a loopback address, found ${hostPortText(address)}: callers are not authenticated yet, so say listen.allow_remote: true if other machines shall reach the API`,
    );
  }
  if (overlap(address, health)) fault(['listen', 'health'], `port ${health.port} is the one of listen.address`);
  if (peers === 'off') return;
  if (overlap(address, peers)) fault(['listen', 'peers'], `port ${peers.port} is the one of listen.address`);
  if (overlap(health, peers)) fault(['listen', 'peers'], `port ${peers.port} is the one of listen.health`);
}

function overlap(a: HostPort, b: HostPort): boolean {
  return (
    a.port !== 0 && a.port === b.port && (a.host === b.host || WILDCARDS.includes(a.host) || WILDCARDS.includes(b.host))
  );
}

function peersFaults(peers: Blocks['peers'], listen: HostPort | 'off', fault: AddFault): void {
  const files = ['cert_file', 'key_file', 'ca_file'] as const;
  const given = files.filter((name) => peers[name] !== undefined);
  if (given.length > 0 && given.length < files.length) {
    const missing = files.filter((name) => peers[name] === undefined).join(' and ');
    fault(['peers', given[0]!], `means nothing without peers.${missing}`);
  }
  if (listen === 'off') {
    if (peers.advertise !== undefined) fault(['peers', 'advertise'], 'means nothing while listen.peers is off');
    return;
  }
  if (peers.token === undefined && given.length === 0) {
    fault(
      ['listen', 'peers'],
      'expected peers.token, or peers.cert_file, key_file and ca_file, by which the daemons of a log know each other; found neither',
    );
  }
  if (WILDCARDS.includes(listen.host) && peers.advertise === undefined) {
    fault(
      ['listen', 'peers'],
      `${listen.host} is every address of this machine: say in peers.advertise at which one other daemons reach it`,
    );
  }
}

const WILDCARDS = ['0.0.0.0', '::'];

function same(a: HostPort | undefined, b: HostPort): boolean {
  return a?.port === b.port && (a.host === b.host || (isLoopback(a.host) && isLoopback(b.host)));
}

function limitFaults(limits: Limits, fault: AddFault): void {
  const order: [keyof Limits, keyof Limits][] = [
    ['payloadBytes', 'eventBytesPerReply'],
    ['eventBytesPerReply', 'messageBytes'],
    ['messageBytes', 'executingBytes'],
    ['messageBytes', 'deliveryBytes'],
    ['hotCacheAggregateBytes', 'hotCacheBytes'],
    ['conflictMinMs', 'conflictMaxMs'],
    ['reactionRetryMinMs', 'reactionRetryMaxMs'],
    ['suspendAfterKeys', 'suspendAfterKeysInAll'],
  ];
  for (const [small, large] of order) {
    // A cache of 0 bytes is off, whatever one aggregate might take.
    if (limits[small] <= limits[large] || (large === 'hotCacheBytes' && limits[large] === 0)) continue;
    const least = `at most limits.${snakeCase(large)} (${limits[large]})`;
    fault(['limits', snakeCase(small)], `expected ${least}, found ${limits[small]}`);
  }
}
