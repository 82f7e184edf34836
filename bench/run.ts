// `npm run bench [-- P2 P12] [--quick] [--json] [--events n] [--profile folder]`: measures the rows of the table, each against its
// yardstick in the same run, and prints the table. Exits with 1 when work was not done as acknowledged.

import { spawnSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { Bench, POSTGRES_SETTINGS, progress } from './lib/bench.ts';
import { type Line, lineOf, type Row, table } from './lib/row.ts';
import { P1, P2, P12 } from './rows/commands.ts';
import { P5, P13 } from './rows/delivery.ts';
import { P3, P4, P6 } from './rows/latency.ts';
import { P7, P8 } from './rows/log.ts';
import { P11 } from './rows/overload.ts';
import { P9, P10 } from './rows/process.ts';

const ROWS: readonly Row[] = [P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    events: { type: 'string' },
    profile: { type: 'string' },
  },
});
const wanted = positionals.map((name) => {
  const row = ROWS.find(({ id }) => id.toLowerCase() === name.toLowerCase());
  if (row === undefined) throw new Error(`there is no row ${name}: expected ${ROWS.map(({ id }) => id).join(', ')}`);
  return row;
});
const events = values.events === undefined ? undefined : Number(values.events);

progress('building the daemon');
const built = spawnSync(process.execPath, ['scripts/build.ts'], { stdio: ['ignore', 2, 2] });
if (built.status !== 0) process.exit(1);

const lines: Line[] = [];
let failed = false;
for (const row of wanted.length > 0 ? wanted : ROWS) {
  progress(`${row.id}: ${row.what}`);
  await using bench = new Bench({ quick: values.quick, events });
  try {
    lines.push(...(await row.measure(bench)).map((measured) => lineOf(row, measured)));
  } catch (error) {
    failed = true;
    progress(`${row.id} failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  }
}
progress('');

const machine = {
  date: new Date().toISOString().slice(0, 10),
  node: process.version,
  cores: cpus().length,
  cpu: cpus()[0]?.model,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  postgres: POSTGRES_SETTINGS.join(' '),
};
if (values.json) console.log(JSON.stringify({ machine, lines }, null, 2));
else {
  const { date, node, cores, cpu, memoryGiB, postgres } = machine;
  console.log(
    `${date}, ${cores} cores (${cpu}), ${memoryGiB} GiB, Node ${node}; everything on this machine; full sync (${postgres})\n`,
  );
  console.log(table(lines));
}
process.exit(failed ? 1 : 0);
