// The machine and the process: Node, files, clock, memory.

import { getHeapStatistics } from 'node:v8';
import type { Config } from '../../config.ts';
import { bytesText, type Finding, fault, ok, warn } from './finding.ts';

const NODE_MIN = 24;
const OPEN_FILES_MIN = 1024;
/** What Node itself and everything without a limit of its own take. */
const BASE_BYTES = 160 << 20;
/** This version of Daybook is younger. */
const EARLIEST = Date.UTC(2026, 0, 1);

export function checkMachine(): Finding[] {
  return [checkNode(process.versions.node), checkOpenFiles(openFiles()), checkClock(Date.now())];
}

export function checkNode(version: string): Finding {
  const major = Number(version.split('.')[0]);
  if (major >= NODE_MIN) return ok('node', `version ${version}`);
  return fault('node', `version ${version} is too old: install ${NODE_MIN} or newer`);
}

function openFiles(): number | 'unlimited' | undefined {
  if (process.report === undefined) return undefined;
  // Without looking names up in the network. (A newer property than the types know.)
  Object.assign(process.report, { excludeNetwork: true });
  const report = process.report.getReport() as { userLimits?: { open_files?: { soft: number | 'unlimited' } } };
  return report.userLimits?.open_files?.soft;
}

export function checkOpenFiles(limit: number | 'unlimited' | undefined): Finding {
  if (limit === undefined) return ok('open files', 'this system does not tell its limit');
  if (limit === 'unlimited' || limit >= OPEN_FILES_MIN) return ok('open files', `at most ${limit}`);
  return warn(
    'open files',
    `at most ${limit}, and each client and component takes one: raise it with ulimit -n ${OPEN_FILES_MIN} or more`,
  );
}

function checkClock(now: number): Finding {
  const text = new Date(now).toISOString();
  if (now >= EARLIEST) return ok('clock', text);
  return fault('clock', `it says ${text}, which is past: events would be stored with that time; set it`);
}

export function checkMemory({ limits }: Config, limitBytes = memoryLimit()): Finding[] {
  const { hotCacheBytes, deliveryBytes, executingBytes } = limits;
  const needed = hotCacheBytes + deliveryBytes + executingBytes + BASE_BYTES;
  const sum = `limits.hot_cache_bytes, delivery_bytes and executing_bytes with ${bytesText(BASE_BYTES)} for everything else are ${bytesText(needed)}`;
  if (limitBytes === undefined) return [ok('memory', `no limit is set; ${sum}`)];
  if (needed <= limitBytes) return [ok('memory', `${bytesText(limitBytes)} are allowed; ${sum}`)];
  return [
    warn(
      'memory',
      `${sum}, but only ${bytesText(limitBytes)} are allowed: lower them or raise the limit of the container`,
    ),
  ];
}

/** Of the cgroup or of Node's heap, whichever is less; `undefined` for none. */
function memoryLimit(): number | undefined {
  const constrained = process.constrainedMemory();
  const limit = Math.min(
    constrained === 0 ? Number.POSITIVE_INFINITY : constrained,
    HEAP_OPTION ?? Number.POSITIVE_INFINITY,
  );
  // Without a limit the kernel tells a number beyond all memories.
  return limit >= Number.MAX_SAFE_INTEGER ? undefined : limit;
}

/** Only when somebody set it: else Node takes what it needs from what there is. */
const HEAP_OPTION = process.execArgv.some((option) => option.startsWith('--max-old-space-size'))
  ? getHeapStatistics().heap_size_limit
  : undefined;
