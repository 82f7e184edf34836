import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { openSqlite } from '../../src/stores/sqlite/index.ts';
import { storeContract } from '../contract/store-contract.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-sqlite-'));
after(() => rmSync(folder, { recursive: true }));

storeContract('sqlite', () => openSqlite({ path: join(folder, 'contract.db') }));
