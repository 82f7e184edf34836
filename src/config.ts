// The one reader of process.env and of configuration files. A frozen Config, or a ConfigError with one sentence for each
// fault. docs/configuration.md tells users the same; a test compares its table of limits with this one.

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type HostPort, isLoopback } from './config/addresses.ts';
import { type Blocks, type LogLevel, readBlocks, SECRETS, type SSL_MODES } from './config/blocks.ts';
import type { ServedComponent } from './config/components.ts';
import { blockFaults } from './config/faults.ts';
import type { Limits } from './config/limits.ts';
import type { Secret } from './config/secret.ts';
import {
  type Environment,
  type Fault,
  isBlock,
  markReferences,
  overlay,
  pathText,
  readSecrets,
  readYaml,
  reason,
  shown,
  substitute,
  type Tree,
} from './config/tree.ts';

export { type HostPort, hostPortText, isLoopback } from './config/addresses.ts';
export { LOG_LEVELS, type LogLevel } from './config/blocks.ts';
export { nameOf, type ServedComponent, typesKnownOf } from './config/components.ts';
export { LIMITS, type Limits, snakeCase } from './config/limits.ts';
export { redacted } from './config/redacted.ts';
export { Secret } from './config/secret.ts';

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
