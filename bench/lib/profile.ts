// `--profile folder`: every program that is started writes a CPU profile there when it ends.

import { resolve } from 'node:path';

const at = process.argv.indexOf('--profile');
const folder = at === -1 ? undefined : resolve(process.argv[at + 1] ?? '.');

/** For the command line of Node. */
export function profiling(name: string): string[] {
  if (folder === undefined) return [];
  return ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-name=${name}-${Date.now()}.cpuprofile`];
}
