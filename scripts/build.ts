// `npm run build`: the daemon in dist/ as few files of JavaScript, with their source maps and with the files beside them that are read at run
// time. Each command and each store is a file of its own: what is not used is not loaded. Types are checked by `npm run lint`.

import { cpSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { build, type Plugin } from 'esbuild';

const outdir = resolve(process.argv[2] ?? resolve(import.meta.dirname, '../dist'));
process.chdir(resolve(import.meta.dirname, '..'));

/**
 * To import a module of Node as one of ECMAScript reads everything that it exports, and so loads what nobody uses: node:http an HTTP client that
 * took a fifth of the start, node:crypto all of Web Crypto in each thread.
 */
const nodeModules: Plugin = {
  name: 'modules of Node',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === 'import-statement' ? { path, namespace: 'node', sideEffects: false } : undefined,
    );
    onLoad({ filter: /.*/, namespace: 'node' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule('${path}');`,
    }));
  },
};

rmSync(outdir, { recursive: true, force: true });
await build({
  entryPoints: { 'cli/daybook': 'src/cli/built.ts', 'stores/sqlite/worker': 'src/stores/sqlite/worker.ts' },
  outdir,
  // What src/shipped.ts tells is relative to the folder of shared files.
  chunkNames: '[name]-[hash]',
  bundle: true,
  splitting: true,
  platform: 'node',
  format: 'esm',
  target: 'node24',
  // Names stay, so that a stack says something without the source maps, too.
  minifyWhitespace: true,
  minifySyntax: true,
  sourcemap: true,
  sourcesContent: false,
  // They read files of their own packages. pg looks for a native driver, which nobody installs.
  external: ['@grpc/reflection', '@grpc/proto-loader', 'pg-native'],
  plugins: [nodeModules],
  // Packages of CommonJS ask for modules of Node by `require`.
  banner: { js: "const require = process.getBuiltinModule('module').createRequire(import.meta.url);" },
  logLevel: 'warning',
});
cpSync('src', outdir, { recursive: true, filter: (path) => !path.endsWith('.ts') });
