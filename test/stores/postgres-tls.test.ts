// TLS to the server, and passwords that change.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import pg from 'pg';
import { type OpenPostgres, openPostgres } from '../../src/stores/postgres/index.ts';
import { eventually } from '../support/eventually.ts';
import { startPostgres } from '../support/postgres.ts';
import { ANY, freshStream, writing } from '../support/store-units.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-postgres-tls-'));
after(() => rmSync(folder, { recursive: true }));
const file = (name: string) => join(folder, name);

/** A server that takes the role `app` with a password and over TLS only; or why there is none. */
async function start() {
  if (spawnSync('openssl', ['version']).error !== undefined) return 'openssl is not installed';
  for (const name of ['server', 'stranger']) {
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', file(`${name}.key`)];
    execFileSync('openssl', ['req', '-x509', '-days', '2', ...key, ...subject, '-out', file(`${name}.pem`)], {
      stdio: 'ignore',
    });
  }
  writeFileSync(file('hba'), 'host all daybook 127.0.0.1/32 trust\nhostssl all app all scram-sha-256\n');
  chmodSync(folder, 0o755);
  chmodSync(file('server.key'), 0o600);
  // As whom the server runs when we are root.
  if (process.getuid?.() === 0) chownSync(file('server.key'), 65534, 65534);
  return startPostgres([
    'ssl=on',
    `ssl_cert_file=${file('server.pem')}`,
    `ssl_key_file=${file('server.key')}`,
    `hba_file=${file('hba')}`,
    'listen_addresses=localhost,127.0.0.1',
  ]);
}

const server = await start();

describe('postgres: TLS and passwords', { skip: typeof server === 'string' && server }, () => {
  assert(typeof server !== 'string');
  const admin = async (text: string) => {
    const client = new pg.Client(server.url('postgres'));
    await client.connect();
    await client.query(text).finally(() => client.end());
  };
  const url = (rest: string) => `postgres://app@${rest.replace('PORT', String(server.port))}`;
  const refused = (options: OpenPostgres, sentence: RegExp) =>
    assert.rejects(openPostgres(options), { reason: 'STORE_UNAVAILABLE', message: sentence });

  test('sslmode: encrypted, by a known authority, for this host; the key comes before the connection string', async () => {
    await admin(`CREATE ROLE app LOGIN PASSWORD 'first'`);
    await admin('CREATE DATABASE tls OWNER app');
    writeFileSync(file('password'), 'first\n');
    const passwordFile = file('password');
    const sslCaFile = file('server.pem');
    const works = async (options: OpenPostgres) => {
      const store = await openPostgres(options);
      assert.equal((await store.commit([writing(freshStream(), ANY)]))[0]!.kind, 'committed');
      await store.close();
    };
    const byName = url('localhost:PORT/tls');
    const byNumber = url('127.0.0.1:PORT/tls');
    await works({ connectionString: byNumber, passwordFile, sslMode: 'require' });
    await works({ connectionString: `${byNumber}?sslmode=require`, passwordFile });
    await works({ connectionString: `${byName}?application_name=x&sslmode=verify-full`, passwordFile, sslCaFile });
    await works({ connectionString: `${byNumber}?sslmode=disable`, passwordFile, sslMode: 'verify-ca', sslCaFile });
    await works({ connectionString: byName.replace('app@', 'app:first@'), sslMode: 'verify-full', sslCaFile });
    await refused({ connectionString: byNumber, passwordFile }, /no encryption/);
    await refused({ connectionString: byNumber, passwordFile, sslMode: 'verify-full', sslCaFile }, /altnames|IP/);
    await refused({ connectionString: byName, passwordFile, sslMode: 'verify-full' }, /self.signed/);
    const stranger = file('stranger.pem');
    await refused(
      { connectionString: byName, passwordFile, sslMode: 'verify-ca', sslCaFile: stranger },
      /self.signed|signature/,
    );
    await refused(
      { connectionString: byName, passwordFile, sslMode: 'verify-ca', sslCaFile: file('no.pem') },
      /cannot be read/,
    );
    await refused({ connectionString: `${byName}?sslmode=prefer`, passwordFile }, /sslmode prefer/);
  });

  test('a password that changes while the daemon runs counts for the next connection', async () => {
    const passwordFile = file('rotated');
    writeFileSync(passwordFile, 'second');
    await admin(`ALTER ROLE app PASSWORD 'second'`);
    const store = await openPostgres({ connectionString: url('127.0.0.1:PORT/tls'), passwordFile, sslMode: 'require' });
    await admin(`ALTER ROLE app PASSWORD 'third'`);
    assert.equal((await store.commit([writing(freshStream(), ANY)]))[0]!.kind, 'committed', 'what is open stays');
    const end = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'`;
    await admin(end);
    await assert.rejects(store.head(), { reason: 'STORE_UNAVAILABLE' });
    writeFileSync(passwordFile, 'third');
    await eventually('it is let in', () => store.head().catch(() => undefined));
    await store.close();
    writeFileSync(passwordFile, 'wrong');
    await refused({ connectionString: url('127.0.0.1:PORT/tls'), passwordFile, sslMode: 'require' }, /password/);
  });
});
