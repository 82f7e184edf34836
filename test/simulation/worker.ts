// A process of its own that runs seeds for main.ts and for the tests. With a plant as its argument it loads the daemon with that bug in it.

import { PLANTS, plant } from './plants.ts';

export type Job =
  | { kind: 'range'; from: number; to: number; stopAtFirst: boolean }
  | { kind: 'plan'; plan: import('./plan.ts').Plan }
  | { kind: 'shrink'; plan: import('./plan.ts').Plan };

export interface RangeResult {
  kind: 'range';
  from: number;
  to: number;
  failed: { seed: number; broken: string[] }[];
  steps: number;
  events: number;
  virtualMs: number;
  cpuMs: number;
}

export type JobResult =
  | RangeResult
  | { kind: 'plan'; broken: string[]; hash: number }
  | { kind: 'shrink'; plan: import('./plan.ts').Plan; broken: string[] };

// Most of what is thrown is expected, and nobody reads where: of a seed that fails, its replay tells it.
Error.stackTraceLimit = 0;
const [name] = process.argv.slice(2);
if (name !== undefined) plant(PLANTS[name]!);
// Only now, so that the plant is in what is loaded.
const { runPlan } = await import('./run-seed.ts');
const { planOf } = await import('./plan.ts');
const { kindOf, shrink } = await import('./shrink.ts');

async function range({ from, to, stopAtFirst }: Extract<Job, { kind: 'range' }>): Promise<RangeResult> {
  const begun = process.cpuUsage();
  const result: RangeResult = { kind: 'range', from, to, failed: [], steps: 0, events: 0, virtualMs: 0, cpuMs: 0 };
  for (let seed = from; seed < to; seed++) {
    const { broken, steps, events, virtualMs } = await runPlan(planOf(seed));
    result.steps += steps;
    result.events += events;
    result.virtualMs += virtualMs;
    if (broken.length === 0) continue;
    result.failed.push({ seed, broken });
    if (!stopAtFirst) continue;
    result.to = seed + 1;
    break;
  }
  const { user, system } = process.cpuUsage(begun);
  result.cpuMs = Math.round((user + system) / 1000);
  return result;
}

async function perform(job: Job): Promise<JobResult> {
  if (job.kind === 'range') return range(job);
  if (job.kind === 'plan') {
    const { broken, hash } = await runPlan(job.plan);
    return { kind: 'plan', broken, hash };
  }
  const [first] = (await runPlan(job.plan)).broken;
  if (first === undefined) return { kind: 'shrink', plan: job.plan, broken: [] };
  const same = (broken: string) => kindOf(broken) === kindOf(first);
  const plan = await shrink(job.plan, async (candidate) => (await runPlan(candidate)).broken.some(same));
  return { kind: 'shrink', plan, broken: (await runPlan(plan)).broken };
}

process.on('message', (job: Job) => {
  void perform(job).then((result) => process.send!(result));
});
// Nobody waits any more.
process.once('disconnect', () => process.exit());
process.send!('ready');
