// npm run simulate: see docs/reliability.md.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Plan } from './plan.ts';
import { PLANTS, plant } from './plants.ts';
import { addRange, merge, missing, readRanges } from './ranges.ts';
import type { RangeResult } from './worker.ts';
import { Worker } from './workers.ts';

const USAGE = `npm run simulate -- [options]
  --seeds <n>       how many seeds; 1000 unless told otherwise
  --from <n>        the first; 1 unless told otherwise
  --workers <n>     processes; 2 unless told otherwise
  --out <file>      adds results of ranges to this file of JSON lines, and goes on behind what is there
  --merge <files>   adds files up, instead: comma-separated
  --seed <n>        runs one seed and tells what happens
  --plan <file>     the same of a plan that was kept
  --shrink          with --seed: makes the plan small, and writes it beside the regression cases
  --planted <name>  with a bug planted, until a seed finds it; all: each of them, one after the other`;

const PIECE = 250;
const REGRESSIONS = join(import.meta.dirname, 'regressions');

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    workers: { type: 'string', default: '2' },
    out: { type: 'string' },
    merge: { type: 'string' },
    seed: { type: 'string' },
    plan: { type: 'string' },
    shrink: { type: 'boolean', default: false },
    planted: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const from = Number(values.from);
const seeds = Number(values.seeds);
if (values.help) console.log(USAGE);
else if (values.merge !== undefined) tell(merge(values.merge.split(',').flatMap(readRanges)));
else if (values.seed !== undefined && values.shrink) await shrinkOne(Number(values.seed), values.planted);
else if (values.seed !== undefined || values.plan !== undefined) await replay();
else if (values.planted !== undefined) await findPlants(values.planted);
else await runRange();

async function runRange(): Promise<void> {
  const { out } = values;
  const ranges: RangeResult[] = out === undefined ? [] : readRanges(out);
  const pieces = missing(ranges, from, from + seeds, PIECE);
  const begunMs = performance.now();
  let done = 0;
  const work = async () => {
    await using worker = await Worker.start();
    for (let piece = pieces.shift(); piece !== undefined; piece = pieces.shift()) {
      const result = await worker.run({ kind: 'range', ...piece, stopAtFirst: false });
      ranges.push(result);
      if (out !== undefined) addRange(out, result);
      for (const { seed, broken } of result.failed) console.log(`seed ${seed}: ${broken[0]}`);
      done += result.to - result.from;
      const perSecond = (done * 1000) / (performance.now() - begunMs);
      console.error(`${done} seeds, ${perSecond.toFixed(0)} a second`);
    }
  };
  await Promise.all(Array.from({ length: Number(values.workers) }, work));
  tell(merge(ranges.filter((range) => range.from >= from && range.to <= from + seeds)));
}

function tell(total: ReturnType<typeof merge>): void {
  const { failed, virtualHours, cpuSeconds, ...counts } = total;
  const hours = { virtualHours: Math.round(virtualHours), cpuSeconds: Math.round(cpuSeconds) };
  console.log(JSON.stringify({ ...counts, ...hours, failed: failed.map(({ seed }) => seed) }));
  if (failed.length > 0) process.exitCode = 1;
}

async function replay(): Promise<void> {
  if (values.planted !== undefined) plant(PLANTS[values.planted]!);
  const { planOf } = await import('./plan.ts');
  const { runPlan } = await import('./run-seed.ts');
  const plan =
    values.plan === undefined ? planOf(Number(values.seed)) : JSON.parse(readFileSync(values.plan, 'utf8')).plan;
  console.log(JSON.stringify(plan, undefined, 1));
  const { broken, hash, steps, virtualMs } = await runPlan(plan, (line) => console.log(line));
  console.log(`${steps} steps, ${(virtualMs / 1000).toFixed(1)} s, hash ${hash.toString(16)}`);
  for (const each of broken) console.log(`BROKEN  ${each}`);
  if (broken.length > 0) process.exitCode = 1;
}

async function shrinkOne(seed: number, planted: string | undefined): Promise<void> {
  const { planOf } = await import('./plan.ts');
  await using worker = await Worker.start(planted);
  const { plan, broken } = await worker.run({ kind: 'shrink', plan: planOf(seed) });
  if (broken.length === 0) throw new Error(`seed ${seed} does not fail`);
  const file = join(REGRESSIONS, `${planted ?? 'seed'}-${seed}.json`);
  writeFileSync(file, text({ about: broken[0]!.split('\n')[0], ...(planted && { planted }), plan }));
  console.log(`${file}: ${plan.commands.length} commands, ${plan.faults.length} faults\n${broken.join('\n')}`);
}

/** One line for each command and fault. */
function text({ plan, ...head }: { about: string | undefined; plan: Plan }): string {
  const { commands, faults, ...rest } = plan;
  const lines = (rows: readonly object[]) => rows.map((row) => `\n  ${JSON.stringify(row)}`).join();
  const whole = JSON.stringify({ ...head, plan: rest });
  return `${whole.slice(0, -2)},\n "commands": [${lines(commands)}],\n "faults": [${lines(faults)}]}}\n`;
}

/** Each of them is found within so many seeds, or not. */
async function findPlants(wanted: string): Promise<void> {
  const names = wanted === 'all' ? Object.keys(PLANTS) : [wanted];
  const find = async (name: string) => {
    await using worker = await Worker.start(name);
    const { failed, to } = await worker.run({ kind: 'range', from, to: from + seeds, stopAtFirst: true });
    const [first] = failed;
    if (first === undefined) process.exitCode = 1;
    const how = first === undefined ? 'NOT FOUND' : `seed ${first.seed}: ${first.broken[0]!.split('\n')[0]}`;
    console.log(`${name}: ${to - from} seeds; ${how}`);
  };
  const work = async () => {
    for (let name = names.shift(); name !== undefined; name = names.shift()) await find(name);
  };
  await Promise.all(Array.from({ length: Number(values.workers) }, work));
}
