// Runs plans one after the other in this process, and counts as broken whatever would have ended a real daemon.

import type { Plan } from './plan.ts';
import { type Result, Simulation } from './simulation.ts';

let current: Simulation | undefined;

process.on('unhandledRejection', (reason) => {
  const text = reason instanceof Error ? reason.stack : String(reason);
  if (current === undefined) throw reason;
  current.broken(`a failure that nobody listens to would end the daemon: ${text}`);
});

export async function runPlan(plan: Plan, trace?: (line: string) => void): Promise<Result> {
  const simulation = new Simulation(plan, trace);
  current = simulation;
  try {
    return await simulation.run();
  } catch (error) {
    simulation.broken(`thrown: ${error instanceof Error ? error.stack : error}`);
    return simulation.result();
  } finally {
    current = undefined;
  }
}
