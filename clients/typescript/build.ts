// `npm run build`: the package as it is published, in dist. Inside this repository the source is run as it is; a package in
// node_modules must be JavaScript, because Node does not strip types there.

import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

process.chdir(import.meta.dirname);
rmSync('dist', { recursive: true, force: true });
execFileSync('tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' });
const { scripts, ...manifest } = JSON.parse(readFileSync('package.json', 'utf8'));
const published = { ...manifest, exports: { '.': { types: './index.d.ts', default: './index.js' } } };
writeFileSync('dist/package.json', `${JSON.stringify(published, undefined, 2)}\n`);
copyFileSync('README.md', 'dist/README.md');
console.log('built: publish the folder dist');
