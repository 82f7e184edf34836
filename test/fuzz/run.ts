// `npm run fuzz -- [--messages 100000] [--seed N] [--service CommandGateway] [--memory 10]`: so many messages to each service of a daemon on SQLite, shared
// out among its RPCs. Ends with 1 at the first untyped error, defect or crash, or when the daemon uses more memory than it may.

import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Bystander } from './bystander.ts';
import type { DaemonReport } from './daemon.ts';
import { fuzz } from './fuzzing.ts';
import { SUBJECTS } from './requests.ts';

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '100000' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    service: { type: 'string' },
    memory: { type: 'string', default: '10' },
  },
});
const messages = Number(values.messages);
const seed = Number(values.seed);
const growthMax = 1 + Number(values.memory) / 100;
/** Before the first look at the memory: code is compiled, pools are filled. */
const WARM_UP = 1000;

const groups = new Map<string, (typeof SUBJECTS)[number][]>();
for (const subject of SUBJECTS) groups.set(subject[0], [...(groups.get(subject[0]) ?? []), subject]);
const wanted = [...groups].filter(([name]) => values.service === undefined || name.endsWith(`.${values.service}`));
assert(wanted.length > 0, `--service: ${values.service} is none of ${[...groups.keys()].join(', ')}`);

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

async function ask(child: ChildProcess): Promise<DaemonReport> {
  child.send('report');
  const [report] = (await once(child, 'message')) as [DaemonReport];
  return report;
}

const megabytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1);

const folder = mkdtempSync(join(tmpdir(), 'daybook-fuzz-'));
const child = fork(fileURLToPath(new URL('daemon.ts', import.meta.url)), [folder], { execArgv: ['--expose-gc'] });
let ending = false;
child.on('exit', (code, signal) => {
  if (ending) return;
  console.error(`the daemon ended: ${signal ?? code}`);
  process.exit(1);
});
const [address] = (await once(child, 'message')) as [string];
const bystander = await Bystander.on(address);
console.log(`seed ${seed}, ${messages} messages a service, on SQLite`);
let faults = 0;
for (const [service, subjects] of wanted) {
  for (const subject of subjects) await fuzz(address, subject, { messages: WARM_UP, seed: seed + 1 });
  const before = await ask(child);
  const counts: Record<string, number> = {};
  const each = Math.ceil(messages / subjects.length);
  for (const subject of subjects) {
    const name = `${service}/${subject[1].name}`;
    const onProgress = (sent: number) => {
      if (sent % 1000 === 0) progress(`${name}: ${sent} of ${each}`);
    };
    const found = await fuzz(address, subject, { messages: each, seed, onProgress });
    for (const [kind, count] of Object.entries(found)) counts[kind] = (counts[kind] ?? 0) + count;
    await bystander.untouched(name);
  }
  const after = await ask(child);
  const growth = after.usedBytes / before.usedBytes;
  progress('');
  console.log(
    `${service}: ${JSON.stringify(counts)}; memory ${megabytes(before.usedBytes)} to ${megabytes(after.usedBytes)} MB (× ${growth.toFixed(3)}), resident ${megabytes(after.residentBytes)} MB`,
  );
  for (const defect of after.defects) console.error(defect);
  if (after.defects.length > 0 || growth > growthMax) faults++;
}
await bystander[Symbol.asyncDispose]();
ending = true;
child.send('stop');
await once(child, 'exit');
rmSync(folder, { recursive: true });
if (faults > 0) {
  console.error(`${faults} services with defects, or with memory that grew by more than ${values.memory} %`);
  process.exit(1);
}
