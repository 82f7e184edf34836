// `npm run build`: JavaScript in dist/, with the files beside it that are read at run time.

import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';

process.chdir(resolve(import.meta.dirname, '..'));
rmSync('dist', { recursive: true, force: true });
const { status } = spawnSync('node_modules/.bin/tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' });
if (status !== 0) process.exit(1);
cpSync('src', 'dist', { recursive: true, filter: (path) => !path.endsWith('.ts') });
