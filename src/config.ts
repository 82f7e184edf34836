// The one reader of process.env and of configuration files. A frozen Config, or a ConfigError with one sentence for each
// fault. docs/configuration.md tells users the same; a test compares its table of limits with this one.

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { z } from 'zod';
import { type HostPort, hostPortText, isLoopback, readHostPort } from './config/addresses.ts';
import { component, domain, nameOf, ownDomain, redactedComponent, type ServedComponent } from './config/components.ts';
import { LIMITS, type Limits } from './config/limits.ts';
import {
  type Environment,
  type Fault,
  isBlock,
  markReferences,
  overlay,
  type Path,
  pathText,
  readSecrets,
  readYaml,
  reason,
  shown,
  substitute,
  type Tree,
} from './config/tree.ts';
import {
  block,
  byType,
  chosen,
  flag,
  issueFaults,
  leaf,
  list,
  oneOf,
  text,
  textOf,
  typed,
  unknownKey,
  whole,
} from './config/values.ts';

export { type HostPort, hostPortText, isLoopback } from './config/addresses.ts';
export { nameOf, type ServedComponent, typesKnownOf } from './config/components.ts';
export { LIMITS, type Limits } from './config/limits.ts';

export interface Config {
  /** The file it was read from; `undefined` when there was none. */
  readonly file: string | undefined;
  readonly storage: StorageConfig;
  readonly bus: BusConfig;
  readonly listen: ListenConfig;
  readonly peers: PeersConfig;
  /** The domains whose events this daemon appends; `undefined`: whatever its components serve. */
  readonly domains: readonly string[] | undefined;
  /** The served ones; attached ones announce themselves. */
  readonly components: readonly ServedComponent[];
  /** Domains whose events are handed to nobody before an upcaster is there. */
  readonly upcastedDomains: readonly string[];
  /** Files with serialized google.protobuf.FileDescriptorSets of payload types; absolute paths. */
  readonly descriptors: readonly string[];
  readonly limits: Limits;
  readonly log: { readonly level: LogLevel };
  readonly reflection: boolean;
}

/** Paths are absolute. */
export type StorageConfig =
  | { readonly type: 'sqlite'; readonly path: string }
  | { readonly type: 'memory' }
  | PostgresConfig;

export interface PostgresConfig {
  readonly type: 'postgres';
  /** A URL. */
  readonly connectionString: Secret;
  /** Where the log lies. */
  readonly schema: string;
  /** `undefined`: what the connection string says, else no encryption. */
  readonly sslMode: (typeof SSL_MODES)[number] | undefined;
  readonly sslCaFile: string | undefined;
  /** Read for every new connection. */
  readonly passwordFile: string | undefined;
  /** A pooler that hands out connections per transaction stands between. */
  readonly pooler: boolean;
  /** The daemon brings the schema up to date when it starts. */
  readonly migrate: boolean;
  /** A log that is made now is cut into tables of so many positions; 0: one table. */
  readonly partitionEvents: number;
}

const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full'] as const;

export interface BusConfig {
  readonly type: 'channel';
}

export interface ListenConfig {
  /** The gRPC API; `undefined`: not over TCP. */
  readonly address: HostPort | undefined;
  /** A Unix socket for the same API; an absolute path. */
  readonly socket: string | undefined;
  /** Health over HTTP. */
  readonly health: HostPort;
  /** For other daemons of the log; `undefined`: they cannot call. */
  readonly peers: HostPort | undefined;
  /** `address` may be reachable from other machines. */
  readonly allowRemote: boolean;
}

/** How this daemon and the others of its log know each other. */
export interface PeersConfig {
  readonly token: Secret | undefined;
  /** Absolute paths. */
  readonly tls: { readonly cert: string; readonly key: string; readonly ca: string } | undefined;
  /** Where others reach `listen.peers`; port 0: the one that is listened at. */
  readonly advertise: HostPort | undefined;
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** The configuration cannot be used. */
export class ConfigError extends Error {
  /** A sentence each, beginning with the key. */
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(faults.join('\n'));
    this.name = 'ConfigError';
    this.faults = faults;
  }
}

/** A text that never shows itself; only `reveal` gives it. */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return '(secret)';
  }

  toJSON(): string {
    return '(secret)';
  }
}

export interface ConfigSources {
  /** From `--config`. */
  configPath?: string | undefined;
  env?: Environment;
  /** Relative paths begin here. */
  cwd?: string;
}

/** Throws a ConfigError. */
export function loadConfig(sources: ConfigSources = {}): Config {
  const { configPath, env = process.env, cwd = process.cwd() } = sources;
  const { file, root, references } = readConfigFile(configPath, env, cwd);
  const tree: Tree = { root, faults: [], variables: new Map() };
  substitute(tree, references, env);
  overlay(tree, env);
  readSecrets(tree, SECRETS, (path) => readFileSync(resolve(cwd, path), 'utf8'));
  const blocks = readBlocks(tree);
  tree.faults.push(...blockFaults(blocks, cwd));
  if (tree.faults.length > 0) throw new ConfigError(tree.faults.map((fault) => sentence(fault, tree)));
  const { storage, listen, peers, ...rest } = blocks as Blocks;
  const path = (given: string) => resolve(cwd, given);
  return frozen({
    file,
    storage: storageConfig(storage, cwd),
    bus: { type: 'channel' },
    listen: {
      address: listen.address === 'off' ? undefined : listen.address,
      socket: listen.socket === undefined ? undefined : resolve(cwd, listen.socket),
      health: listen.health,
      peers: listen.peers === 'off' ? undefined : listen.peers,
      allowRemote: listen.allow_remote,
    },
    peers: {
      token: peers.token,
      tls:
        peers.cert_file === undefined
          ? undefined
          : { cert: path(peers.cert_file), key: path(peers.key_file!), ca: path(peers.ca_file!) },
      advertise: peers.advertise,
    },
    domains: rest.domains,
    components: rest.components,
    upcastedDomains: rest.upcasted_domains,
    descriptors: rest.descriptors.map((path) => resolve(cwd, path)),
    limits: rest.limits,
    log: rest.log,
    reflection: rest.reflection ?? (listen.address === 'off' || isLoopback(listen.address.host)),
  });
}

function storageConfig(storage: Blocks['storage'], cwd: string): StorageConfig {
  switch (storage.type) {
    case 'sqlite':
      return { type: 'sqlite', path: resolve(cwd, storage.path) };
    case 'postgres':
      return {
        type: 'postgres',
        connectionString: storage.connection_string,
        schema: storage.schema,
        sslMode: storage.sslmode,
        sslCaFile: storage.ssl_ca_file === undefined ? undefined : resolve(cwd, storage.ssl_ca_file),
        passwordFile: storage.password_file === undefined ? undefined : resolve(cwd, storage.password_file),
        pooler: storage.pooler,
        migrate: storage.migrate,
        partitionEvents: storage.partition_events,
      };
    default:
      return { type: 'memory' };
  }
}

/** The effective configuration, for people: keys as in the file. */
export function redacted(config: Config): Record<string, unknown> {
  return {
    storage: redactedStorage(config.storage),
    bus: config.bus,
    listen: {
      address: config.listen.address === undefined ? 'off' : hostPortText(config.listen.address),
      ...(config.listen.socket === undefined ? {} : { socket: config.listen.socket }),
      health: hostPortText(config.listen.health),
      peers: config.listen.peers === undefined ? 'off' : hostPortText(config.listen.peers),
      allow_remote: config.listen.allowRemote,
    },
    ...redactedPeers(config.peers),
    ...(config.domains === undefined ? {} : { domains: config.domains }),
    components: config.components.map(redactedComponent),
    upcasted_domains: config.upcastedDomains,
    descriptors: config.descriptors,
    limits: Object.fromEntries(Object.entries(config.limits).map(([name, value]) => [snakeCase(name), value])),
    log: config.log,
    reflection: config.reflection,
  };
}

function redactedPeers({ token, tls, advertise }: PeersConfig): Record<string, unknown> {
  const peers = {
    ...(token === undefined ? {} : { token: String(token) }),
    ...(tls === undefined ? {} : { cert_file: tls.cert, key_file: tls.key, ca_file: tls.ca }),
    ...(advertise === undefined ? {} : { advertise: hostPortText(advertise) }),
  };
  return Object.keys(peers).length === 0 ? {} : { peers };
}

function redactedStorage(storage: StorageConfig): Record<string, unknown> {
  if (storage.type !== 'postgres') return { ...storage };
  const { type, connectionString, schema, sslMode, sslCaFile, passwordFile, pooler, migrate, partitionEvents } =
    storage;
  return {
    type,
    connection_string: String(connectionString),
    schema,
    ...(sslMode === undefined ? {} : { sslmode: sslMode }),
    ...(sslCaFile === undefined ? {} : { ssl_ca_file: sslCaFile }),
    ...(passwordFile === undefined ? {} : { password_file: passwordFile }),
    pooler,
    migrate,
    partition_events: partitionEvents,
  };
}

/** A limit's key in the file: `messageBytes` is `message_bytes` there. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

// The file

function readConfigFile(configPath: string | undefined, env: Environment, cwd: string) {
  const named = configPath ?? (env.DAYBOOK_CONFIG || undefined);
  const by = configPath === undefined ? 'DAYBOOK_CONFIG' : '--config';
  const file = resolve(cwd, named ?? 'daybook.yaml');
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (thrown) {
    if (named === undefined && (thrown as NodeJS.ErrnoException).code === 'ENOENT')
      return { file: undefined, root: {}, references: [] };
    const what = named === undefined ? file : `${by}: the file ${file}`;
    throw new ConfigError([`${what} cannot be read: ${reason(thrown)}`]);
  }
  const marked = markReferences(text);
  const yaml = readYaml(marked.text);
  if (typeof yaml === 'string') throw new ConfigError([`${file}: expected YAML, but ${yaml}`]);
  const root = yaml.value ?? {};
  if (!isBlock(root)) throw new ConfigError([`${file}: expected keys and values, found ${shown(root)}`]);
  return { file, root, references: marked.references };
}

// What each key holds

const secret = leaf(
  'a text',
  (value) => {
    const given = textOf(value);
    return given === undefined || given === '' ? undefined : new Secret(given);
  },
  (value) => (value === undefined ? 'nothing' : 'something else'),
);

const hostPort = leaf('host:port with a port from 0 to 65535', readHostPort);

const apiAddress = leaf('host:port with a port from 0 to 65535, or off', (value) =>
  textOf(value) === 'off' || value === false ? ('off' as const) : readHostPort(value),
);

const postgresUrl = leaf(
  'postgres://user@host:port/database',
  (value) => {
    const given = textOf(value);
    return given !== undefined && /^postgres(ql)?:\/\//.test(given) && URL.canParse(given)
      ? new Secret(given)
      : undefined;
  },
  // Whatever it is, it may hold a password.
  (value) => (value === undefined ? 'nothing' : 'something else'),
);

const storage = byType<
  | { type: 'sqlite'; path: string }
  | { type: 'memory' }
  | {
      type: 'postgres';
      connection_string: Secret;
      schema: string;
      sslmode?: (typeof SSL_MODES)[number] | undefined;
      ssl_ca_file?: string | undefined;
      password_file?: string | undefined;
      pooler: boolean;
      migrate: boolean;
      partition_events: number;
    }
  | { type: 'redis' } // a fault below
>(
  {
    sqlite: block({
      type: typed('sqlite'),
      path: text('the path of a file', (given) => given !== '' && !/^(:|file:)/.test(given)).default(
        './data/daybook.db',
      ),
    }),
    memory: block({ type: typed('memory') }),
    postgres: block({
      type: typed('postgres'),
      connection_string: postgresUrl,
      schema: text('a name of small letters, digits and underscores', (given) =>
        /^(?!pg_)[a-z_][a-z0-9_]{0,62}$/.test(given),
      ).default('daybook'),
      sslmode: oneOf(SSL_MODES).optional(),
      ssl_ca_file: text('the path of a file').optional(),
      password_file: text('the path of a file').optional(),
      pooler: flag.default(false),
      migrate: flag.default(true),
      partition_events: whole(0, Number.MAX_SAFE_INTEGER).default(0),
    }),
    redis: block({ type: typed('redis'), url: secret }),
  },
  'sqlite',
);

const bus = byType<{ type: string }>(
  {
    channel: block({ type: typed('channel') }),
    amqp: block({ type: typed('amqp'), url: secret }),
    kafka: block({ type: typed('kafka'), brokers: z.unknown() }),
    nats: block({ type: typed('nats'), servers: z.unknown() }),
  },
  'channel',
);

/** Where secrets may be; each also as a file's path under the key with `_file`. */
const SECRETS: readonly Path[] = [
  ['storage', 'connection_string'],
  ['storage', 'url'],
  ['bus', 'url'],
  ['peers', 'token'],
];

const limits = block(
  Object.fromEntries(
    Object.entries(LIMITS).map(([name, { fallback, min, max }]) => [
      snakeCase(name),
      whole(min, max).default(fallback),
    ]),
  ),
).transform((values): Limits => {
  const read = (name: string) => [name, (values as Record<string, number>)[snakeCase(name)]];
  return Object.fromEntries(Object.keys(LIMITS).map(read)) as Limits;
});

const SCHEMAS = {
  storage,
  bus,
  listen: block({
    address: apiAddress.default({ host: '127.0.0.1', port: 4310 }),
    socket: text('the path of a socket').optional(),
    health: hostPort.default({ host: '0.0.0.0', port: 4311 }),
    peers: apiAddress.default('off'),
    allow_remote: flag.default(false),
  }),
  peers: block({
    token: secret.optional(),
    cert_file: text('the path of a file').optional(),
    key_file: text('the path of a file').optional(),
    ca_file: text('the path of a file').optional(),
    advertise: hostPort.optional(),
  }),
  domains: list(domain, 'a list of domains, or no such key to own whatever components serve', 1).optional(),
  components: list(component, 'a list of components', 0).default([]),
  descriptors: list(text('the path of a file'), 'a list of paths', 0).default([]),
  upcasted_domains: list(domain, 'a list of domains', 0).default([]),
  routes: chosen((value) =>
    isBlock(value) ? z.record(z.string(), z.unknown()) : `expected domains and addresses, found ${shown(value)}`,
  ).optional(),
  limits,
  log: block({ level: oneOf(LOG_LEVELS).default('info') }),
  reflection: flag.optional(),
};

type Blocks = { [name in keyof typeof SCHEMAS]: z.output<(typeof SCHEMAS)[name]> };

/** Each block by itself, so that a fault in one does not hide those between others. */
function readBlocks(tree: Tree): Partial<Blocks> {
  const root = tree.root as Record<string, unknown>;
  const known = Object.keys(SCHEMAS);
  for (const key of Object.keys(root)) {
    if (!known.includes(key)) tree.faults.push(unknownKey([key], known));
  }
  // What was wrong before it was read is told once.
  const told = tree.faults.map((fault) => pathText(fault.path));
  const blocks: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(SCHEMAS)) {
    const result = (schema as z.ZodType).safeParse(Object.hasOwn(root, name) ? root[name] : undefined);
    if (result.success) blocks[name] = result.data;
    for (const issue of result.error?.issues ?? []) {
      const faults = issueFaults([name, ...(issue.path as Path)], issue);
      tree.faults.push(...faults.filter((fault) => !told.includes(pathText(fault.path))));
    }
  }
  return blocks as Partial<Blocks>;
}

// What blocks mean together

function blockFaults(blocks: Partial<Blocks>, cwd: string): Fault[] {
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

// Sentences

/** The key, the variable that set it if one did, and what is wrong; on one line. */
function sentence({ path, sentence }: Fault, { variables }: Tree): string {
  let variable: string | undefined;
  for (let length = path.length; length > 0 && variable === undefined; length--) {
    variable = variables.get(pathText(path.slice(0, length)));
  }
  const text = `${pathText(path)}${variable === undefined ? '' : ` (from ${variable})`}: ${sentence}`;
  // Keys of the file are quoted as they are, and may hold anything.
  return text.replaceAll(/\p{Cc}/gu, ' ');
}

function frozen<T extends object>(value: T): T {
  for (const part of Object.values(value)) if (typeof part === 'object' && part !== null) frozen(part);
  return Object.freeze(value);
}
