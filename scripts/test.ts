// `npm test`: what must hold before a commit. Lint, generated code, types, format, then every test. With files as arguments: only
// those tests. The last line says how many passed, failed and were skipped. Skips are told with their reasons;
// DAYBOOK_TEST_NO_SKIPS=1 makes them failures. No test at all is a failure, too.

import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { parse } from 'yaml';

const TESTS = ['test/**/*.test.ts', 'clients/typescript/test/**/*.test.ts', 'examples/**/test/**/*.test.ts'];

process.chdir(resolve(import.meta.dirname, '..'));
const named = process.argv.slice(2);
if (named.length === 0) {
  step('buf lint', 'buf', 'lint');
  step('buf format', 'buf', 'format', '--diff', '--exit-code');
  title('generated code');
  checkGenerated();
  step('types', 'tsc', '-p', '.');
  step('format and lint', 'biome', 'check', '--error-on-warnings');
}
title('tests');
await runTests(named.length > 0 ? named : globSync(TESTS, { exclude: ['**/node_modules/**'] }).sort());

function title(name: string): void {
  console.log(`== ${name}`);
}

function step(name: string, command: string, ...args: string[]): void {
  title(name);
  // npm puts node_modules/.bin on the path; so do we, for `node scripts/test.ts`.
  const PATH = `${resolve('node_modules/.bin')}:${process.env.PATH}`;
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, PATH } });
  if (error !== undefined) console.error(error.message);
  if (status !== 0) give(0, 1, 0, `${name} failed`);
}

/** Generates again elsewhere: what is committed must be the same, file by file. */
function checkGenerated(): void {
  const elsewhere = mkdtempSync(join(tmpdir(), 'daybook-gen-'));
  try {
    step('buf generate', 'buf', 'generate', '--output', elsewhere);
    step('descriptors', 'node', 'scripts/descriptors.ts', join(elsewhere, 'src/gen'));
    const { plugins } = parse(readFileSync('buf.gen.yaml', 'utf8')) as { plugins: { out: string }[] };
    for (const { out } of plugins) {
      const [made, committed] = [filesIn(join(elsewhere, out)), filesIn(out)];
      const differs = [...new Set([...made.keys(), ...committed.keys()])].filter(
        (file) => made.get(file) !== committed.get(file),
      );
      if (differs.length > 0) give(0, 1, 0, `not as generated: ${differs.map((file) => join(out, file)).join(', ')}`);
    }
  } finally {
    rmSync(elsewhere, { recursive: true });
  }
}

function filesIn(folder: string): Map<string, string> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) =>
    statSync(join(folder, file)).isFile(),
  );
  return new Map(files.map((file) => [file, readFileSync(join(folder, file), 'utf8')]));
}

async function runTests(files: string[]): Promise<void> {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const skips: string[] = [];
  const empty: string[] = [];
  const stream = run({
    files: files.map((file) => resolve(file)),
    concurrency: availableParallelism(),
    timeout: 300_000,
  });
  const toDo = (todo: string | boolean) => `to do${typeof todo === 'string' ? `: ${todo}` : ''}`;
  stream.on('test:pass', ({ name, file, skip, todo, details }) => {
    // What is still to be done is told like a skip.
    skip ??= todo === undefined ? undefined : toDo(todo);
    if (skip !== undefined) skips.push(`${name}: ${skip === true ? 'no reason given' : skip} (${place(file)})`);
    // A file without tests is told as a test of the file's name.
    if (name === file || files.includes(name)) empty.push(place(file ?? name));
    else if (details.type !== 'suite' || skip !== undefined) counts[skip === undefined ? 'passed' : 'skipped']++;
  });
  stream.on('test:fail', ({ name, file, todo, details }) => {
    if (todo !== undefined) {
      // A defect that is known.
      skips.push(`${name}: fails, ${toDo(todo)} (${place(file)})`);
      counts.skipped++;
    } else if (details.type !== 'suite' || (details.error as { failureType?: string }).failureType === 'hookFailed')
      counts.failed++;
  });
  for await (const chunk of stream.compose(new spec())) process.stdout.write(chunk);

  for (const skip of skips) console.log(`skipped: ${skip}`);
  for (const file of empty) console.error(`no tests in ${file}`);
  counts.failed += empty.length;
  if (counts.passed + counts.failed === 0) give(0, 1, counts.skipped, 'no test ran');
  if (skips.length > 0 && process.env.DAYBOOK_TEST_NO_SKIPS === '1') {
    give(counts.passed, counts.failed + skips.length, counts.skipped, 'skips are forbidden here');
  }
  give(counts.passed, counts.failed, counts.skipped);
}

function place(file: string | undefined): string {
  return relative('.', file ?? '');
}

/** The last line. */
function give(passed: number, failed: number, skipped: number, why?: string): never {
  if (why !== undefined) console.error(why);
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  process.exit(failed === 0 ? 0 : 1);
}
