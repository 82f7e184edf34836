import { readFileSync } from 'node:fs';
import { shipped } from './shipped.ts';

/** Of this package, as `0.1.0`. */
export const VERSION: string = JSON.parse(readFileSync(shipped('../package.json'), 'utf8')).version;
