// What each key of a configuration holds.

import * as z from 'zod';
import { readHostPort } from './addresses.ts';
import { component, domain } from './components.ts';
import { LIMITS, type Limits, snakeCase } from './limits.ts';
import { Secret } from './secret.ts';
import { isBlock, type Path, pathText, shown, type Tree } from './tree.ts';
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
} from './values.ts';

export const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full'] as const;

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

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
export const SECRETS: readonly Path[] = [
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

export type Blocks = { [name in keyof typeof SCHEMAS]: z.output<(typeof SCHEMAS)[name]> };

/** Each block by itself, so that a fault in one does not hide those between others. */
export function readBlocks(tree: Tree): Partial<Blocks> {
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
