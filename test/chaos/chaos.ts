// `npm run chaos`: real processes, and everything that can happen to them. docs/reliability.md says what is shown.
//
// Without arguments: each of the runs below. With `--store` and the like: one run of one's own. A run with the seed that it prints makes the
// same choices. The auditors share no code with the daemon. Exit 1 when anything was lost, doubled, skipped or left over.

import { parseArgs } from 'node:util';
import { FAULT_NAMES, type FaultName, impossible } from './faults.ts';
import { type RunOptions, runChaos } from './run.ts';
import { WORKS, type WorkName } from './work.ts';

const USAGE = `usage: npm run chaos -- [--store sqlite|postgres] [--work ${Object.keys(WORKS).join('|')}] [--daemons <n>]
  [--faults ${FAULT_NAMES.join(',')}] [--times <n>] [--seconds <n>] [--seed <n>] [--lease-ms <n>]`;

interface Plan {
  store: RunOptions['store'];
  work: WorkName;
  daemons: number;
  faults: FaultName[];
  leaseMs?: number;
}

const PLANS: Plan[] = [
  { store: 'sqlite', work: 'ledger', daemons: 1, faults: ['kill', 'pause', 'clock', 'drain'] },
  { store: 'sqlite', work: 'ledger', daemons: 1, faults: ['disk', 'kill'] },
  { store: 'sqlite', work: 'orders', daemons: 1, faults: ['kill', 'pause', 'clock', 'drain'] },
  { store: 'postgres', work: 'ledger', daemons: 1, faults: ['kill', 'pause', 'restart', 'network', 'clock'] },
  { store: 'postgres', work: 'ledger', daemons: 3, faults: ['kill', 'pause', 'restart', 'network', 'clock', 'drain'] },
  {
    store: 'postgres',
    work: 'orders',
    daemons: 3,
    faults: ['kill', 'pause', 'restart', 'network', 'clock', 'drain'],
    leaseMs: 2000,
  },
];

const text = { type: 'string' } as const;
const { values } = parseArgs({
  options: {
    store: text,
    work: text,
    daemons: text,
    faults: text,
    times: text,
    seconds: text,
    seed: text,
    'lease-ms': text,
  },
});

const numbers = {
  daemons: number('daemons', 1),
  times: number('times', 10),
  seconds: number('seconds', 3600),
  seed: number('seed', Math.floor(Math.random() * 2 ** 31)),
};
// Whoever is told to stop takes his daemons and disks along: see the handlers of `exit`.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
let failed = false;
for (const plan of values.store === undefined ? PLANS : [own()]) {
  const { times, seconds, seed } = numbers;
  const { faults, figures } = await runChaos({ leaseMs: undefined, ...plan, times, seconds, seed }, console.log);
  for (const fault of faults.slice(0, 20)) console.error(`fault: ${fault}`);
  console.log(JSON.stringify(figures));
  failed ||= faults.length > 0;
}
process.exit(failed ? 1 : 0);

function own(): Plan {
  const { store, work = 'ledger' } = values;
  const faults = (values.faults ?? 'kill').split(',') as FaultName[];
  if (store !== 'sqlite' && store !== 'postgres') throw usage(`unknown store ${store}`);
  if (!(work in WORKS)) throw usage(`unknown work ${work}`);
  for (const fault of faults) {
    if (!FAULT_NAMES.includes(fault)) throw usage(`unknown fault ${fault}`);
    const why = impossible(fault, store);
    if (why !== undefined) throw usage(`${fault}: ${why}`);
  }
  const { daemons } = numbers;
  if (store === 'sqlite' && daemons > 1) throw usage('SQLite belongs to one daemon');
  const leaseMs = values['lease-ms'] === undefined ? undefined : number('lease-ms', 0);
  return { store, work: work as WorkName, daemons, faults, ...(leaseMs !== undefined && { leaseMs }) };
}

function number(name: 'daemons' | 'times' | 'seconds' | 'seed' | 'lease-ms', fallback: number): number {
  const value = Number(values[name] ?? fallback);
  if (!Number.isSafeInteger(value) || value <= 0) throw usage(`--${name}: expected a positive number`);
  return value;
}

function usage(what: string): never {
  console.error(`${what}\n${USAGE}`);
  process.exit(2);
}
