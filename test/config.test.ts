import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { overlay, readSecrets, type Tree } from '../src/config/tree.ts';
import { type Config, ConfigError, LIMITS, loadConfig, nameOf, redacted, Secret, snakeCase } from '../src/config.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-config-'));
after(() => rmSync(folder, { recursive: true }));

/** Of each property about bad input; more in long runs. */
const RUNS = Number(process.env.DAYBOOK_TEST_FUZZ_RUNS ?? 500);

type Variables = Record<string, string>;

function load(yaml: string | undefined, env: Variables = {}): Config {
  const configPath = yaml === undefined ? undefined : join(folder, 'given.yaml');
  if (configPath !== undefined) writeFileSync(configPath, yaml!);
  return loadConfig({ configPath, env, cwd: folder });
}

function faults(yaml: string | undefined, env: Variables = {}): readonly string[] {
  try {
    load(yaml, env);
  } catch (thrown) {
    assert(thrown instanceof ConfigError, String(thrown));
    return thrown.faults;
  }
  return [];
}

/** What a served projector, saga or process manager says of itself when nothing is given. */
const reactor = {
  domains: [],
  types: [],
  generation: 1,
  version: 1,
  start: { kind: 'beginning' },
  partitions: 16,
  sync: false,
  ordered: false,
  maxPages: 1,
  domain: '',
  snapshotSchemaVersion: 0,
};

describe('defaults', () => {
  test('without a file: SQLite, channel bus, components by attaching, loopback', () => {
    const config = load(undefined);
    assert.equal(config.file, undefined);
    assert.deepEqual(config.storage, { type: 'sqlite', path: join(folder, 'data/daybook.db') });
    assert.deepEqual(config.bus, { type: 'channel' });
    assert.deepEqual(config.listen, {
      address: { host: '127.0.0.1', port: 4310 },
      socket: undefined,
      health: { host: '0.0.0.0', port: 4311 },
      peers: undefined,
      allowRemote: false,
    });
    assert.deepEqual(config.peers, { token: undefined, tls: undefined, advertise: undefined });
    assert.equal(config.domains, undefined);
    assert.deepEqual(config.components, []);
    assert.deepEqual(config.log, { level: 'info' });
    assert.equal(config.reflection, true);
    assert.equal(config.limits.messageBytes, 4 * 1024 * 1024);
    assert.equal(config.limits.payloadBytes, 256 * 1024);
    assert.equal(config.limits.pagesPerCommand, 100);
    assert.equal(config.limits.drainMs, 25_000);
    assert.equal(config.limits.idempotencyRetentionDays, 7);
  });

  test('an empty file changes nothing', () => {
    assert.deepEqual({ ...load('# nothing\n'), file: undefined }, { ...load(undefined) });
  });

  test('everything is frozen', () => {
    const config = load('components: [{ aggregate: order, address: "localhost:1" }]');
    assert(Object.isFrozen(config) && Object.isFrozen(config.limits) && Object.isFrozen(config.components[0]));
  });

  test('the example file has every key, and is the default but for its components', () => {
    const text = readFileSync(new URL('../docs/daybook.example.yaml', import.meta.url), 'utf8');
    const example = load(text);
    assert.deepEqual({ ...example, file: undefined, components: [] }, { ...load(undefined) });
    assert.deepEqual(example.components, [
      { kind: 'aggregate', domain: 'order', address: 'localhost:50051', snapshotSchemaVersion: 0 },
      { kind: 'upcaster', domain: 'order', address: 'localhost:50051', types: ['shop.v0.OrderPlaced'] },
      {
        kind: 'projector',
        address: 'localhost:50052',
        concurrency: 64,
        declaration: {
          ...reactor,
          kind: 'projector',
          name: 'order-summary',
          domains: ['order'],
          types: ['shop.v1.OrderPlaced', 'shop.v1.OrderConfirmed'],
          sync: true,
          maxPages: 100,
        },
      },
      {
        kind: 'saga',
        address: 'localhost:50053',
        concurrency: 64,
        declaration: { ...reactor, kind: 'saga', name: 'fulfilment', domains: ['order'] },
      },
      {
        kind: 'process_manager',
        address: 'localhost:50054',
        concurrency: 64,
        declaration: {
          ...reactor,
          kind: 'process_manager',
          name: 'payment',
          domains: ['order', 'billing'],
          domain: 'payment',
        },
      },
    ]);
    for (const name of Object.keys(LIMITS)) assert.match(text, new RegExp(`^  ${snakeCase(name)}: \\d+$`, 'm'));
  });

  test('docs/configuration.md has the same table of limits', () => {
    const text = readFileSync(new URL('../docs/configuration.md', import.meta.url), 'utf8');
    for (const [name, { fallback, min, max }] of Object.entries(LIMITS)) {
      assert(text.includes(`| \`${snakeCase(name)}\` | ${fallback} | ${min} | ${max} |`), name);
    }
  });
});

describe('where it comes from', () => {
  test('--config, then DAYBOOK_CONFIG, then ./daybook.yaml', () => {
    const own = mkdtempSync(join(folder, 'own-'));
    const env = { DAYBOOK_CONFIG: 'variable.yaml' };
    assert.equal(loadConfig({ env: {}, cwd: own }).file, undefined);
    writeFileSync(join(own, 'daybook.yaml'), 'log: { level: warn }');
    assert.equal(loadConfig({ env: {}, cwd: own }).log.level, 'warn');
    writeFileSync(join(own, 'variable.yaml'), 'log: { level: error }');
    assert.equal(loadConfig({ env, cwd: own }).log.level, 'error');
    writeFileSync(join(own, 'argument.yaml'), 'log: { level: fatal }');
    assert.equal(loadConfig({ configPath: 'argument.yaml', env, cwd: own }).log.level, 'fatal');
  });

  test('a file that was named must be there', () => {
    const missing = join(folder, 'missing.yaml');
    assert.throws(() => loadConfig({ configPath: missing, env: {} }), {
      message: `--config: the file ${missing} cannot be read: it does not exist`,
    });
    assert.throws(() => loadConfig({ env: { DAYBOOK_CONFIG: missing } }), {
      message: `DAYBOOK_CONFIG: the file ${missing} cannot be read: it does not exist`,
    });
  });

  test('${VAR} and ${VAR:-default} in any text, read as what the key expects', () => {
    const yaml = [
      'storage: { type: "${STORE:-memory}" }',
      'listen: { address: "127.0.0.1:${PORT}", health: "${HOST:-127.0.0.1}:0" }',
      'limits: { drain_ms: ${DRAIN:-1000} }',
      'domains: ${DOMAINS}',
      'reflection: ${REFLECTION}',
    ].join('\n');
    const config = load(yaml, { PORT: '5000', DRAIN: '', DOMAINS: '[order, stock]', REFLECTION: 'false' });
    assert.deepEqual(config.storage, { type: 'memory' });
    assert.deepEqual(config.listen.address, { host: '127.0.0.1', port: 5000 });
    assert.deepEqual(config.listen.health, { host: '127.0.0.1', port: 0 });
    assert.equal(config.limits.drainMs, 1000);
    assert.deepEqual(config.domains, ['order', 'stock']);
    assert.equal(config.reflection, false);
  });

  test('PostgreSQL: everything but the connection string has a default, and that is never shown', () => {
    const yaml = 'storage: { type: postgres, connection_string: "postgres://u:geheim@db/a" }';
    const { storage, ...rest } = load(yaml);
    assert(storage.type === 'postgres');
    assert.equal(storage.connectionString.reveal(), 'postgres://u:geheim@db/a');
    const { connectionString: _, ...others } = storage;
    assert.deepEqual(others, {
      type: 'postgres',
      schema: 'daybook',
      sslMode: undefined,
      sslCaFile: undefined,
      passwordFile: undefined,
      pooler: false,
      migrate: true,
      partitionEvents: 0,
    });
    const shown = JSON.stringify(redacted({ storage, ...rest }));
    assert(!shown.includes('geheim') && shown.includes('"connection_string":"(secret)"'));
    const full = 'sslmode: verify-full, ssl_ca_file: ca.pem, password_file: pw, pooler: true, migrate: false';
    const set = load(`storage: { type: postgres, connection_string: "postgres://db/a", ${full} }`).storage;
    assert.deepEqual(
      { ...set, connectionString: undefined },
      {
        ...others,
        connectionString: undefined,
        sslMode: 'verify-full',
        sslCaFile: join(folder, 'ca.pem'),
        passwordFile: join(folder, 'pw'),
        pooler: true,
        migrate: false,
      },
    );
  });

  test('variables need no quotes between braces', () => {
    const yaml = 'storage: { type: postgres, connection_string: ${DB} }\nbus: { type: amqp, url: ${MQ} }';
    assert.deepEqual(
      faults(yaml, { DB: 'postgres://a', MQ: 'amqp://b' }).map((sentence) => sentence.slice(0, 30)),
      ['bus.type: amqp is not built ye'],
    );
    assert.deepEqual(faults(yaml, { MQ: 'amqp://b' })[0], 'storage.connection_string: the variable DB is not set');
  });

  test('a variable that holds YAML stays one text', () => {
    const env = { DIR: 'x, type: memory }\nlog: { level: debug', PIN: '0123' };
    const { storage, log } = load('storage: { path: ${DIR} }', env);
    assert.deepEqual(storage, { type: 'sqlite', path: join(folder, env.DIR) });
    assert.equal(log.level, 'info');
    assert.deepEqual(load('storage: { path: ${PIN} }', env).storage, { type: 'sqlite', path: join(folder, '0123') });
  });

  test('$${ is a plain ${', () => {
    assert.deepEqual(load('storage: { path: $${x} }').storage, { type: 'sqlite', path: join(folder, '${x}') });
  });

  test('a variable that is not set is named, with its key, once', () => {
    assert.deepEqual(faults('limits: { drain_ms: "${NONE}" }'), ['limits.drain_ms: the variable NONE is not set']);
    assert.deepEqual(faults('# ${NONE}'), []);
    const expected = 'log.level: expected a name, and perhaps :- and a default, in the braces after $';
    assert.deepEqual(faults('log: { level: "${1x}" }'), [expected]);
    assert.deepEqual(faults('log: { level: "${X" }', { X: 'info' }), [expected]);
    assert.deepEqual(faults('log: { ${X}: a }', { X: 'level' }), ['log.${X}: unknown key']);
  });

  test('every key is a variable; lists and blocks are YAML or JSON; entries have numbers', () => {
    const config = load('log: { level: debug }\ndomains: [order]', {
      DAYBOOK__STORAGE__TYPE: 'memory',
      DAYBOOK__LISTEN__SOCKET: '/run/daybook.sock',
      DAYBOOK__LISTEN: '{ address: "127.0.0.1:1", health: "127.0.0.1:2" }',
      DAYBOOK__LOG__LEVEL: 'warn',
      DAYBOOK__DOMAINS__1: 'stock',
      DAYBOOK__COMPONENTS: '[{"aggregate": "order", "address": "a:1"}]',
      DAYBOOK__COMPONENTS__0__ADDRESS: 'b:2',
      DAYBOOK__COMPONENTS__1__AGGREGATE: 'stock',
      DAYBOOK__COMPONENTS__1__ADDRESS: 'unix:/run/stock.sock',
      DAYBOOK__LIMITS__CONFLICT_TRIES: '3',
      DAYBOOK__REFLECTION: 'false',
    });
    assert.deepEqual(config.storage, { type: 'memory' });
    assert.deepEqual(config.listen.address, { host: '127.0.0.1', port: 1 });
    assert.equal(config.listen.socket, '/run/daybook.sock');
    assert.equal(config.log.level, 'warn');
    assert.deepEqual(config.domains, ['order', 'stock']);
    assert.deepEqual(
      config.components.map((entry) => [nameOf(entry), entry.address]),
      [
        ['order', 'b:2'],
        ['stock', 'unix:/run/stock.sock'],
      ],
    );
    assert.equal(config.limits.conflictTries, 3);
    assert.equal(config.reflection, false);
  });

  test('a text that looks like a number stays a text', () => {
    const { storage } = load(undefined, { DAYBOOK__STORAGE__PATH: '42' });
    assert.deepEqual(storage, { type: 'sqlite', path: join(folder, '42') });
  });

  test('a fault from a variable names it', () => {
    assert.deepEqual(faults(undefined, { DAYBOOK__LIMITS__DRAIN_MS: 'soon' }), [
      'limits.drain_ms (from DAYBOOK__LIMITS__DRAIN_MS): expected a whole number from 0 to 3600000, found "soon"',
    ]);
    assert.deepEqual(faults(undefined, { DAYBOOK__LIMIT__DRAIN_MS: '1' }), [
      'limit: unknown key; did you mean limits?',
    ]);
    assert.deepEqual(faults(undefined, { DAYBOOK__COMPONENTS__1__ADDRESS: 'a:1' }), [
      'DAYBOOK__COMPONENTS__1__ADDRESS: components has 0 entries, so the next is 0',
    ]);
    assert.deepEqual(faults(undefined, { DAYBOOK__log__level: 'info' }), [
      'DAYBOOK__log__level: expected a name as DAYBOOK__BLOCK__KEY in capital letters',
    ]);
  });

  test('what Kubernetes sets for a service called daybook means nothing', () => {
    const env = { DAYBOOK_PORT: 'tcp://10.0.0.1:4310', DAYBOOK_SERVICE_HOST: '10.0.0.1' };
    assert.deepEqual(load(undefined, env), load(undefined));
  });
});

test('projectors, sagas and process managers that are served', () => {
  const yaml = `
    domains: [payment]
    components:
      - { projector: a, address: "x:1", domains: [order], ordered: true, sync: false, generation: 3, version: 2 }
      - { saga: b, address: "unix:/b.sock", types: [shop.v1.OrderPlaced], start: { after_position: 7 }, concurrency: 1 }
      - { process_manager: c, address: "x:2", domain: payment, start: { from_time: "1970-01-01T01:00:01.5+01:00" } }
      - { upcaster: foreign, address: "x:3" }`;
  const { components } = load(yaml, { DAYBOOK__COMPONENTS__0__START: 'now', DAYBOOK__COMPONENTS__0__MAX_PAGES: '7' });
  const declared = components.flatMap((entry) => ('declaration' in entry ? [entry.declaration] : []));
  const [a, b, c] = declared;
  const own = { generation: 3, version: 2, partitions: 1, ordered: true, maxPages: 7, start: { kind: 'now' } };
  assert.deepEqual(a, { ...reactor, kind: 'projector', name: 'a', domains: ['order'], ...own });
  const start = { kind: 'after', position: 7 };
  assert.deepEqual(b, { ...reactor, kind: 'saga', name: 'b', types: ['shop.v1.OrderPlaced'], start });
  const time = { kind: 'time', timeMicros: 1_500_000 };
  assert.deepEqual(c, { ...reactor, kind: 'process_manager', name: 'c', domain: 'payment', start: time });
  assert.equal((components[1] as { concurrency: number }).concurrency, 1);
});

describe('what is refused', () => {
  const cases: [string, string, ...string[]][] = [
    ['trap 29: an unknown key at the top', 'storge: {}', 'storge: unknown key; did you mean storage?'],
    [
      'trap 29: an unknown key in a block',
      'limits: { messageBytes: 1 }',
      'limits.messageBytes: unknown key; did you mean message_bytes?',
    ],
    ['trap 29: an unknown key that resembles none', 'log: { colour: red }', 'log.colour: unknown key'],
    [
      'trap 29: an unknown bus never becomes a mock',
      'bus: { type: rabbit }',
      'bus.type: expected one of channel, amqp, kafka, nats, found "rabbit"',
    ],
    [
      'a bus to come',
      'bus: { type: nats, servers: [x] }',
      'bus.type: nats is not built yet: this version of Daybook has the channel bus only',
    ],
    [
      'a store to come',
      'storage: { type: redis, url: x }',
      'storage.type: redis is not built yet: this version of Daybook stores in sqlite, postgres or memory',
    ],
    [
      'PostgreSQL without a database',
      'storage: { type: postgres }',
      'storage.connection_string: expected postgres://user@host:port/database, found nothing',
    ],
    [
      'a connection string in another form, of which nothing is shown',
      'storage: { type: postgres, connection_string: "host=db password=geheim" }',
      'storage.connection_string: expected postgres://user@host:port/database, found something else',
    ],
    [
      'a schema that needs quotes',
      'storage: { type: postgres, connection_string: "postgres://db/a", schema: Orders }',
      'storage.schema: expected a name of small letters, digits and underscores, found "Orders"',
    ],
    [
      'a mode of TLS that may end without any',
      'storage: { type: postgres, connection_string: "postgres://db/a?sslmode=prefer" }',
      'storage.connection_string: expected sslmode as one of disable, require, verify-ca, verify-full, found "prefer"',
    ],
    [
      'an authority that nobody asks',
      'storage: { type: postgres, connection_string: "postgres://db/a", sslmode: require, ssl_ca_file: ca.pem }',
      'storage.ssl_ca_file: means nothing with sslmode require: expected verify-ca or verify-full',
    ],
    [
      'partitions by the thousand',
      'storage: { type: postgres, connection_string: "postgres://db/a", partition_events: 10 }',
      'storage.partition_events: expected 0 or at least 100000, found 10',
    ],
    ['a key of another store', 'storage: { type: memory, path: x }', 'storage.path: unknown key'],
    [
      'SQLite in memory',
      'storage: { path: ":memory:" }',
      'storage.path: expected the path of a file, found ":memory:"',
    ],
    ['a list for a block', 'limits: []', 'limits: expected keys and values, found an empty list'],
    ['a block without content', 'limits:', 'limits: expected keys and values, found nothing'],
    [
      'a text for a number',
      'limits: { drain_ms: 25s }',
      'limits.drain_ms: expected a whole number from 0 to 3600000, found "25s"',
    ],
    [
      'a fraction',
      'limits: { drain_ms: 1.5 }',
      'limits.drain_ms: expected a whole number from 0 to 3600000, found 1.5',
    ],
    [
      'a number above its maximum',
      'limits: { payload_bytes: 1048577 }',
      'limits.payload_bytes: expected a whole number from 1024 to 1048576, found 1048577',
    ],
    ['a number for a text', 'storage: { path: 5 }', 'storage.path: expected the path of a file, found 5'],
    ['YAML 1.1 flags', 'reflection: yes', 'reflection: expected true or false, found "yes"'],
    [
      'limits that do not fit each other',
      'limits: { message_bytes: 524288 }',
      'limits.event_bytes_per_reply: expected at most limits.message_bytes (524288), found 1048576',
    ],
    [
      'waits that do not fit each other',
      'limits: { conflict_min_ms: 3000 }',
      'limits.conflict_min_ms: expected at most limits.conflict_max_ms (2000), found 3000',
    ],
    [
      'a port out of range',
      'listen: { address: "127.0.0.1:70000" }',
      'listen.address: expected host:port with a port from 0 to 65535, or off, found "127.0.0.1:70000"',
    ],
    [
      'peers that anybody could call',
      'listen: { peers: "127.0.0.1:4313" }',
      'listen.peers: expected peers.token, or peers.cert_file, key_file and ca_file, by which the daemons of a log know each other; found neither',
    ],
    [
      'peers that nobody finds',
      'listen: { peers: "0.0.0.0:4313" }\npeers: { token: t }',
      'listen.peers: 0.0.0.0 is every address of this machine: say in peers.advertise at which one other daemons reach it',
    ],
    [
      'peers on the port of health',
      'listen: { peers: "127.0.0.1:4311" }\npeers: { token: t }',
      'listen.peers: port 4311 is the one of listen.health',
    ],
    [
      'peers on the port of the API',
      'listen: { peers: "127.0.0.1:4310" }\npeers: { token: t }',
      'listen.peers: port 4310 is the one of listen.address',
    ],
    [
      'half of a certificate',
      'peers: { cert_file: a, ca_file: b }',
      'peers.cert_file: means nothing without peers.key_file',
    ],
    [
      'an address of nothing',
      'peers: { advertise: "pod:1" }',
      'peers.advertise: means nothing while listen.peers is off',
    ],
    [
      'an address without a port',
      'listen: { health: localhost }',
      'listen.health: expected host:port with a port from 0 to 65535, found "localhost"',
    ],
    [
      'one port for two',
      'listen: { address: "127.0.0.1:4311" }',
      'listen.health: port 4311 is the one of listen.address',
    ],
    [
      'nothing to listen on',
      'listen: { address: off }',
      'listen.address: is off and there is no listen.socket: nobody could call',
    ],
    [
      'a remote address',
      'listen: { address: "0.0.0.0:4310" }',
      'listen.address: expected a loopback address, found 0.0.0.0:4310: callers are not authenticated yet, so say listen.allow_remote: true if other machines shall reach the API',
    ],
    [
      'a long socket path',
      `listen: { socket: /${'s'.repeat(103)} }`,
      'listen.socket: expected a path of at most 103 bytes, found 104',
    ],
    [
      'no domains',
      'domains: []',
      'domains: expected a list of domains, or no such key to own whatever components serve, found an empty list',
    ],
    [
      'trap 26: an empty entry',
      'domains: [order, ""]',
      'domains[1]: expected a domain as [a-z][a-z0-9_-]{0,63}, found an empty text',
    ],
    [
      'trap 26: an entry that is nothing',
      'domains:\n  - order\n  -\n',
      'domains[1]: expected a domain as [a-z][a-z0-9_-]{0,63}, found nothing',
    ],
    ['a domain twice', 'domains: [order, order]', 'domains[1]: order is named twice'],
    [
      'a component without an address',
      'components: [{ aggregate: order }]',
      'components[0].address: expected host:port with a port from 1 to 65535, or unix:/path, found nothing',
    ],
    [
      'a component of no kind',
      'components: [{ agregate: order }]',
      'components[0]: expected one of the keys aggregate, projector, saga, process_manager, upcaster, found none but "agregate"',
    ],
    [
      'a component of two kinds',
      'components: [{ aggregate: a, saga: b, address: "x:1" }]',
      'components[0]: expected one of the keys aggregate, projector, saga, process_manager, upcaster, found aggregate and saga',
    ],
    [
      'a key of another kind',
      'components: [{ saga: s, address: "x:1", generation: 2 }]',
      'components[0].generation: unknown key',
    ],
    [
      'a projector twice',
      'components: [{ projector: p, address: "x:1" }, { projector: p, address: "x:2", generation: 2 }]',
      'components[1].projector: components[0] is p already',
    ],
    [
      'one name for two kinds',
      'components: [{ projector: p, address: "x:1" }, { aggregate: p, address: "x:1" }, { saga: p, address: "x:2" }]',
      'components[2].saga: p is the name of components[0], a projector, already',
    ],
    [
      'trap 26: an empty domain in a filter',
      'components: [{ saga: s, address: "x:1", domains: [order, ""] }]',
      'components[0].domains[1]: expected a domain as [a-z][a-z0-9_-]{0,63}, found an empty text',
    ],
    [
      'trap 26: an empty type in a filter',
      'components: [{ saga: s, address: "x:1", types: [""] }]',
      "components[0].types[0]: expected a full event type name, without '/' and commas, found an empty text",
    ],
    [
      'trap 26: types in one text',
      'components: [{ saga: s, address: "x:1", types: "a.B,a.C" }]',
      'components[0].types: expected a list of full event type names, found "a.B,a.C"',
    ],
    [
      'trap 26: types in one entry',
      'components: [{ saga: s, address: "x:1", types: ["a.B,a.C"] }]',
      'components[0].types[0]: expected a full event type name, without \'/\' and commas, found "a.B,a.C"',
    ],
    [
      'trap 26: domains in one text',
      'components: [{ saga: s, address: "x:1", domains: "order," }]',
      'components[0].domains: expected a list of domains, found "order,"',
    ],
    [
      'a start that is none',
      'components: [{ saga: s, address: "x:1", start: soon }]',
      'components[0].start: expected beginning, now, { after_position: number } or { from_time: time }, found "soon"',
    ],
    [
      'two starts',
      'components: [{ saga: s, address: "x:1", start: { after_position: 1, from_time: "2026-01-31T12:00:00Z" } }]',
      'components[0].start: expected beginning, now, { after_position: number } or { from_time: time }, found keys and values',
    ],
    [
      'a time without a zone',
      'components: [{ saga: s, address: "x:1", start: { from_time: "2026-01-31T12:00:00" } }]',
      'components[0].start.from_time: expected a time as "2026-01-31T12:00:00Z", found "2026-01-31T12:00:00"',
    ],
    [
      'a version that is a date',
      'components: [{ saga: s, address: "x:1", version: 20261127 }]',
      'components[0].version: expected a whole number from 1 to 999999, found 20261127',
    ],
    [
      'too many partitions',
      'components: [{ saga: s, address: "x:1", partitions: 1025 }]',
      'components[0].partitions: expected a whole number from 1 to 1024, found 1025',
    ],
    [
      'an ordered projector with several partitions',
      'components: [{ projector: p, address: "x:1", ordered: true, partitions: 2 }]',
      'components[0].partitions: expected 1 or no such key, because ordered is true, found 2',
    ],
    [
      'a process manager whose own domain is of others',
      'domains: [a]\ncomponents: [{ process_manager: p, address: "x:1" }, { process_manager: q, domain: b, address: "x:1" }]',
      "components[0].process_manager: expected one of this daemon's domains (a), found p",
      "components[1].domain: expected one of this daemon's domains (a), found b",
    ],
    [
      'two components for one domain',
      'components: [{ aggregate: a, address: "x:1" }, { aggregate: a, address: "x:2" }]',
      'components[1].aggregate: components[0] serves a already',
    ],
    [
      'a component for a domain of others',
      'domains: [a]\ncomponents: [{ aggregate: b, address: "x:1" }]',
      "components[0].aggregate: expected one of this daemon's domains (a), found b",
    ],
    [
      'Daybook as its own component',
      'components: [{ aggregate: a, address: "localhost:4310" }]',
      'components[0].address: localhost:4310 is listen.address, where Daybook itself answers',
    ],
    [
      'routes, which are to come',
      'routes: { payment: "p:4310" }',
      'routes: routes to other services come with a later version of Daybook',
    ],
    [
      'a route to an owned domain',
      'domains: [a]\nroutes: { a: "p:1" }',
      'routes.a: a is owned here, so no route may lead elsewhere',
      'routes: routes to other services come with a later version of Daybook',
    ],
  ];
  for (const [name, yaml, ...expected] of cases) {
    test(name, () => assert.deepEqual(faults(yaml), expected));
  }

  test('trap 26: a list with a trailing comma in a variable is no list', () => {
    assert.match(faults(undefined, { DAYBOOK__DOMAINS: 'order,' })[0]!, /^domains .*expected a list of domains/);
    assert.match(faults(undefined, { DAYBOOK__DOMAINS: '' })[0]!, /^domains .*expected a list of domains/);
    assert.deepEqual(load('domains: [order,]').domains, ['order']);
  });

  test('every fault is told, one sentence each', () => {
    const told = faults('storge: {}\nlog: { level: loud }\ndomains: [a, a]\nlisten: { address: "9.9.9.9:1" }');
    assert.deepEqual(
      told.map((sentence) => sentence.split(':')[0]),
      ['storge', 'log.level', 'listen.address', 'domains[1]'],
    );
  });

  test('broken YAML, by line', () => {
    assert.match(
      faults('a: 1\na: 2')[0]!,
      /given\.yaml: expected YAML, but line 2, column 1: Map keys must be unique$/,
    );
    assert.match(faults('domains: [a')[0]!, /expected YAML, but line 1/);
    assert.match(faults('- a')[0]!, /expected keys and values, found a list$/);
    assert.match(faults('log: !!js/function x')[0]!, /expected YAML, but line 1/);
  });

  test('a remote address is possible, and turns reflection off', () => {
    const config = load('listen: { address: "0.0.0.0:4310", allow_remote: true }');
    assert.deepEqual(config.listen.address, { host: '0.0.0.0', port: 4310 });
    assert.equal(config.reflection, false);
    assert.equal(load('listen: { address: "[::1]:0" }').listen.address!.host, '::1');
    assert.equal(load('listen: { address: off, socket: d.sock }').listen.socket, join(folder, 'd.sock'));
  });

  test('a cache of 0 bytes is off, whatever one aggregate might take', () => {
    assert.equal(load('limits: { hot_cache_bytes: 0 }').limits.hotCacheBytes, 0);
  });
});

describe('secrets', () => {
  const password = 'hunter2';
  const url = `postgres://daybook:${password}@db/daybook`;

  test('come from files, whose name is the key and _file', () => {
    const file = join(folder, 'connection');
    writeFileSync(file, `${url}\n`);
    const env = { DAYBOOK__STORAGE__CONNECTION_STRING_FILE: file };
    const tree: Tree = {
      root: { storage: { type: 'postgres', connection_string: 'old' } },
      faults: [],
      variables: new Map(),
    };
    overlay(tree, env);
    readSecrets(tree, [['storage', 'connection_string']], (path) => readFileSync(path, 'utf8'));
    assert.deepEqual(tree.faults, []);
    const { storage } = tree.root as { storage: { connection_string: { text: string } } };
    assert.equal(storage.connection_string.text, url);
    assert.deepEqual(Object.keys(storage).sort(), ['connection_string', 'type']);
    const loaded = load(`storage: { type: postgres, connection_string_file: ${file} }`).storage;
    assert.equal(loaded.type === 'postgres' && loaded.connectionString.reveal(), url);
  });

  test('in two places at once, or in a file that is not there, are faults', () => {
    assert.match(
      faults('storage: { type: redis, url: a, url_file: b }')[0]!,
      /^storage\.url_file: expected either this or url, found both$/,
    );
    assert.match(
      faults('bus: { type: amqp, url_file: /nowhere/url }')[0]!,
      /^bus\.url_file: the file \/nowhere\/url cannot be read: it does not exist$/,
    );
  });

  test('never show', () => {
    const secret = new Secret(password);
    assert.equal(secret.reveal(), password);
    assert(!`${secret} ${JSON.stringify({ secret })} ${JSON.stringify(Object.entries(secret))}`.includes(password));
    const told = [
      ...faults(`storage: { type: "${url}" }`),
      ...faults('storage: { type: "${URL}" }', { URL: password }),
      ...faults(`storage: { type: postgres, connection_string: [${password}] }`),
      ...faults(`storage: { connection_string: "${url}" }`),
      ...faults(undefined, { DAYBOOK__STORAGE__CONECTION_STRING: password }),
      ...faults(undefined, { DAYBOOK__STORAGE__CONNECTION_STRING: password, DAYBOOK__STORAGE__TYPE: 'redis' }),
      ...faults(`storage: { type: postgres, connection_string: "${password}`),
      ...faults(`storage: { type: postgres, connection_string: a } ${password}`),
    ];
    assert(told.length >= 8);
    for (const sentence of told) assert(!sentence.includes(password), sentence);
  });
});

test("the daemons' token is a secret, from a file too", () => {
  const listen = 'listen: { peers: "127.0.0.1:0" }';
  const config = load(`${listen}\npeers: { token: geheim }`);
  assert.equal(config.peers.token?.reveal(), 'geheim');
  assert(!JSON.stringify(redacted(config)).includes('geheim'));
  const file = join(folder, 'token');
  writeFileSync(file, 'geheim\n');
  assert.equal(load(`${listen}\npeers: { token_file: ${JSON.stringify(file)} }`).peers.token?.reveal(), 'geheim');
});

test('what check prints is a configuration again', () => {
  const yaml = [
    'listen: { address: "[::1]:5000", socket: /run/d.sock }',
    'domains: [order]',
    'components:',
    '  - { aggregate: order, address: "x:1", snapshot_schema_version: 2 }',
    '  - { upcaster: order, address: "x:1", types: [a.B] }',
    '  - { projector: a, address: "x:1", domains: [order], types: [a.B], generation: 2, ordered: true, start: now }',
    '  - { saga: b, address: "x:1", start: { after_position: 3 }, partitions: 2, concurrency: 3, version: 4 }',
    '  - { process_manager: order, address: "x:1", snapshot_schema_version: 2, start: { from_time: "2026-01-31T12:00:00.000001Z" } }',
    'upcasted_domains: [order]',
    'limits: { drain_ms: 1 }',
  ].join('\n');
  const peers =
    'listen: { peers: "0.0.0.0:4313" }\npeers: { cert_file: a, key_file: b, ca_file: c, advertise: "pod:0" }';
  for (const config of [load(undefined), load(yaml), load(peers), load('listen: { address: off, socket: d.sock }')]) {
    const again = load(stringify(redacted(config)));
    assert.deepEqual({ ...again, file: undefined }, { ...config, file: undefined });
  }
});

describe('whatever is given, it is a Config or a ConfigError', () => {
  function typed(yaml: string | undefined, env: Variables = {}): void {
    for (const sentence of faults(yaml, env)) assert(/^[^\n]+$/.test(sentence), JSON.stringify(sentence));
  }
  const key = fc.oneof(
    fc.constantFrom(
      'storage',
      'type',
      'path',
      'listen',
      'address',
      'domains',
      'components',
      'aggregate',
      'limits',
      'log',
    ),
    fc.constantFrom('__proto__', 'constructor', 'toString', '', '0'),
    fc.string(),
  );
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom('sqlite', 'postgres', 'localhost:1', '${X}', '${X:-y}', '${', 'order', 'unix:'),
      fc.string({ unit: 'binary' }),
      fc.double(),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie('any'), { maxLength: 4 }),
      fc.array(fc.tuple(key, tie('any')), { maxLength: 4 }).map((entries) => Object.fromEntries(entries)),
    ),
  })).any;

  test('any text', () =>
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (yaml) => typed(yaml)),
      { numRuns: RUNS },
    ));

  test('any keys and values', () => {
    fc.assert(
      fc.property(value, fc.string(), (root, x) => typed(stringify(root), { X: x })),
      { numRuns: RUNS },
    );
  });

  test('known blocks with any content', () => {
    const block = fc.constantFrom(
      'storage',
      'bus',
      'listen',
      'domains',
      'components',
      'routes',
      'limits',
      'log',
      'reflection',
    );
    fc.assert(
      fc.property(block, value, (name, content) => typed(stringify({ [name]: content }))),
      { numRuns: RUNS },
    );
  });

  test('any variables', () => {
    const step = fc.constantFrom(
      'STORAGE',
      'TYPE',
      'COMPONENTS',
      '0',
      '1',
      'ADDRESS',
      'LIMITS',
      'DRAIN_MS',
      'URL_FILE',
      '__PROTO__',
      '',
    );
    const name = fc.array(step, { maxLength: 4 }).map((steps) => ['DAYBOOK', ...steps].join('__'));
    const variables = fc.dictionary(
      name,
      fc.oneof(fc.string(), fc.constantFrom('[', '[1]', '{a: 1}', 'null', '&a [*a]')),
    );
    fc.assert(
      fc.property(variables, (env) => typed('components: [{}]', env)),
      { numRuns: RUNS },
    );
  });

  test('deep nesting and aliases', () => {
    typed('['.repeat(5000));
    typed(`a: ${'['.repeat(2000)}${']'.repeat(2000)}`);
    typed(`storage: ${'{a: '.repeat(50)}1${'}'.repeat(50)}`);
    typed('a: &a [*a]');
    typed(`a: &a [1]\n${Array.from({ length: 30 }, (_, i) => `b${i}: &b${i} [${'*a,'.repeat(10)}]`).join('\n')}`);
    typed(undefined, { DAYBOOK__LIMITS: '['.repeat(5000) });
  });
});
