// Who may import whom; see "How the code should look" in CONTRIBUTING.md.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '..');

const files = new Map(
  readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => [file.replaceAll('\\', '/'), readFileSync(join(root, 'src', file), 'utf8')]),
);
const written = [...files.keys()].filter((file) => !file.startsWith('gen/'));

/** What a file imports: files of src by their path, everything else by its name. */
function imports(file: string): string[] {
  const found = files.get(file)!.matchAll(/(?:\bfrom|\bimport|\bimport\()\s*['"]([^'"]+)['"]/g);
  return [...found].map(([, name]) => (name!.startsWith('.') ? posix.join(posix.dirname(file), name!) : name!));
}

/** Every import of the files below `from` that `wrong` says is wrong. */
function wrongImports(from: string[], wrong: (target: string, file: string) => boolean): string[] {
  const inside = written.filter((file) => from.some((place) => file.startsWith(place)));
  assert(inside.length > 0, `no files in ${from.join(', ')}`);
  return inside.flatMap((file) =>
    imports(file)
      .filter((target) => wrong(target, file))
      .map((target) => `${file} imports ${target}`),
  );
}

const isOneOf = (target: string, places: string[]) => places.some((place) => target.startsWith(place));

test('the checker sees imports', () => {
  assert(imports('cli/daybook.ts').includes('cli/start.ts'));
  assert(imports('cli/daybook.ts').includes('commander'));
});

test('the model is pure: it imports only itself and the error class', () => {
  assert.deepEqual(
    wrongImports(['model/'], (target) => !isOneOf(target, ['model/', 'errors.ts'])),
    [],
  );
  const impure = /\basync\b|\bawait\b|Date\.now|new Date\(\)|Math\.random|setTimeout|performance\./;
  assert.deepEqual(
    written.filter((file) => file.startsWith('model/') && impure.test(files.get(file)!)),
    [],
  );
});

test('coordinators and delivery know contracts and the model, no transport and no adapter', () => {
  const outside = [
    '@grpc',
    'gen/',
    'grpc/',
    'stores/',
    'buses/',
    'components/',
    'cli/',
    'main.ts',
    'config',
    'yaml',
    'zod',
  ];
  assert.deepEqual(
    wrongImports(['coordinators/', 'delivery/'], (target) => isOneOf(target, outside)),
    [],
  );
});

test('contracts know the model only', () => {
  assert.deepEqual(
    wrongImports(
      ['store.ts', 'delivery-store.ts', 'component.ts', 'errors.ts', 'runtime.ts'],
      // The store contract has two files.
      (target, from) =>
        !isOneOf(target, ['model/', 'errors.ts', 'runtime.ts', 'abort.ts', 'transient-map.ts', 'node:']) &&
        !(from === 'store.ts' && target === 'delivery-store.ts'),
    ),
    [],
  );
});

test('stores do not know each other, nor anything that uses them', () => {
  const outside = ['@grpc', 'gen/', 'grpc/', 'coordinators/', 'delivery/', 'components/', 'cli/', 'main.ts', 'config'];
  // stores/<name>/ and stores/<name>.ts are adapters when the daemon can open them; what else lies there is shared.
  const adapters = ['memory', 'sqlite', 'postgres', 'redis'];
  const adapter = (file: string) => adapters.find((name) => new RegExp(`^stores/${name}(/|\\.ts$)`).test(file));
  const other = (target: string, file: string) => {
    const own = adapter(file);
    const its = adapter(target);
    return its !== undefined && its !== own;
  };
  assert.deepEqual(
    wrongImports(['stores/'], (target, file) => isOneOf(target, outside) || other(target, file)),
    [],
  );
});

test('generated code is seen by grpc, components and cli only', () => {
  const elsewhere = written.filter((file) => !isOneOf(file, ['grpc/', 'components/', 'cli/']));
  assert.deepEqual(
    wrongImports(elsewhere, (target) => target.startsWith('gen/')),
    [],
  );
});

test('only main and cli know everything', () => {
  const elsewhere = written.filter((file) => !isOneOf(file, ['main.ts', 'cli/']));
  assert.deepEqual(
    wrongImports(elsewhere, (target) => isOneOf(target, ['main.ts', 'cli/'])),
    [],
  );
  const inner = elsewhere.filter((file) => !isOneOf(file, ['stores/', 'open-store.ts']));
  assert.deepEqual(
    wrongImports(inner, (target) => target.startsWith('stores/')),
    [],
  );
});

test('only config.ts reads the environment', () => {
  assert.deepEqual(
    written.filter((file) => /process\.env/.test(files.get(file)!)).filter((file) => file !== 'config.ts'),
    [],
  );
});

test('time and randomness come from the runtime', () => {
  // Deadlines of gRPC calls are times of the wall clock, and servers wait for sockets.
  const free = ['runtime.ts', 'cli/', 'telemetry/', 'stores/sqlite/', 'grpc/', 'components/served.ts'];
  const inner = written.filter((file) => !isOneOf(file, free));
  const own = /Date\.now\(|Math\.random\(|\bset(Timeout|Interval)\(|\brandomUUID\(/;
  assert.deepEqual(
    inner.filter((file) => own.test(files.get(file)!)),
    [],
  );
});

test('files are short enough to be read', () => {
  const long = written.filter((file) => files.get(file)!.split('\n').length > 800);
  assert.deepEqual(long, []);
});

test('generated code stays out of the formatter', () => {
  const biome = JSON.parse(readFileSync(join(root, 'biome.json'), 'utf8'));
  assert(biome.files.includes.includes('!**/gen'));
});
