// Makes a plan that fails small: fewer commands, fewer faults, fewer daemons, as long as it still fails.

import type { Plan } from './plan.ts';

/** What kind of failure it is, without the numbers. */
export function kindOf(broken: string): string {
  return broken.replaceAll(/[-\d.,]+/g, '#').slice(0, 30);
}

/** Tries, at most. */
const TRIES = 600;

export async function shrink(plan: Plan, fails: (plan: Plan) => Promise<boolean>): Promise<Plan> {
  let best = plan;
  let tries = 0;
  const better = async (candidate: Plan): Promise<boolean> => {
    if (++tries > TRIES || !(await fails(candidate))) return false;
    best = candidate;
    return true;
  };
  for (let before = -1; before !== size(best) && tries < TRIES; ) {
    before = size(best);
    await fewer('faults', better, () => best);
    await fewer('commands', better, () => best);
    await simpler(better, () => best);
  }
  return best;
}

function size({ commands, faults, daemons, followers, rebuildAgain }: Plan): number {
  return commands.length + faults.length + daemons + followers + (rebuildAgain === undefined ? 0 : 1);
}

/** Halves, quarters and so on are left out, at last one by one. */
async function fewer(part: 'commands' | 'faults', better: (plan: Plan) => Promise<boolean>, best: () => Plan) {
  for (
    let portion = Math.ceil(best()[part].length / 2);
    portion >= 1;
    portion = portion === 1 ? 0 : Math.ceil(portion / 2)
  ) {
    for (let from = 0; from < best()[part].length; ) {
      const plan = best();
      const rest = [...plan[part].slice(0, from), ...plan[part].slice(from + portion)];
      if (!(await better({ ...plan, [part]: rest }))) from += portion;
    }
  }
}

async function simpler(better: (plan: Plan) => Promise<boolean>, best: () => Plan): Promise<void> {
  const { rebuildAgain, ...rebuiltOnce } = best();
  if (rebuildAgain !== undefined) await better(rebuiltOnce);
  if (best().followers > 0) await better({ ...best(), followers: 0 });
  if (best().daemons > 1) {
    const daemons = best().daemons - 1;
    const faults = best().faults.filter((fault) => !('daemon' in fault) || fault.daemon < daemons);
    await better({ ...best(), daemons, faults });
  }
  await better({ ...best(), skewMs: best().skewMs.map(() => 0) });
  const { leaseMs } = best().limits;
  await better({ ...best(), limits: leaseMs === undefined ? {} : { leaseMs } });
  for (const command of best().commands) {
    const plain = { ...command, mode: 'none', explicit: false, twice: false, againMs: 0, lost: 0 } as const;
    if (JSON.stringify(plain) === JSON.stringify(command)) continue;
    await better({ ...best(), commands: best().commands.map((each) => (each.id === command.id ? plain : each)) });
  }
}
