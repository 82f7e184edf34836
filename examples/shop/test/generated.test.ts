import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';

test('gen is what shop.proto says', (t) => {
  const elsewhere = mkdtempSync(join(tmpdir(), 'daybook-gen-'));
  t.after(() => rmSync(elsewhere, { recursive: true }));
  const shop = resolve(import.meta.dirname, '..');
  const PATH = `${resolve(shop, '../../node_modules/.bin')}:${process.env.PATH}`;
  const buf = (...args: string[]) => execFileSync('buf', args, { cwd: shop, env: { ...process.env, PATH } });
  buf('lint');
  buf('generate', '--output', elsewhere);
  buf('build', '--as-file-descriptor-set', '--exclude-source-info', '-o', join(elsewhere, 'gen/shop.binpb'));
  for (const file of ['gen/shop/v1/shop.ts', 'gen/shop.binpb']) {
    assert.deepEqual(
      readFileSync(join(shop, file)),
      readFileSync(join(elsewhere, file)),
      `${file}: run npm run gen:shop`,
    );
  }
});
