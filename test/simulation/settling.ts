// After the last command and the last fault: every daemon runs, nothing goes wrong any more, dead letters are replayed, and what was promised
// comes about within minutes. What is left then is told.

import { PROCESS_MANAGER, PROJECTOR, SAGA } from './plan.ts';
import type { Simulation } from './simulation.ts';

const LOOK_MS = 300;
/** Faults of the plan are over by then. */
const CALM_AT_MS = 8000;
/** All of the plan may be over much sooner. */
const QUIET_AT_MS = 3000;
const GIVE_UP_MS = 180_000;
/** What is promised holds for a while. */
const QUIET_LOOKS = 2;

export class Settling {
  readonly #simulation: Simulation;
  readonly #lastMs: number;
  #quiet = 0;

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
    const { commands, faults } = simulation.plan;
    const times = [...commands, ...faults].map((each) => ('atMs' in each ? each.atMs : 0));
    const { rebuildAtMs, rebuildAgain } = simulation.plan;
    const rebuiltMs = (rebuildAgain?.atMs ?? rebuildAtMs) + 1500;
    this.#lastMs = Math.max(QUIET_AT_MS, rebuiltMs, ...times);
  }

  begin(): void {
    this.#simulation.time.after(this.#lastMs, () => this.#look());
  }

  #look(): void {
    const { time, clients } = this.#simulation;
    if (time.nowMs > CALM_AT_MS && !this.#simulation.calm) this.#becalm();
    this.#waitsFor().then((waitsFor) => {
      this.#quiet = waitsFor === undefined && clients.idle ? this.#quiet + 1 : 0;
      if (this.#quiet >= QUIET_LOOKS) return time.stop();
      if (time.nowMs < GIVE_UP_MS) time.after(LOOK_MS, () => this.#look());
      else {
        const what = waitsFor?.() ?? 'a client waits for an answer';
        this.#simulation.broken(`not settled after ${GIVE_UP_MS} ms: ${what}`);
        time.stop();
      }
    });
  }

  #becalm(): void {
    const { daemons, note } = { daemons: this.#simulation.daemons, note: this.#simulation.note.bind(this.#simulation) };
    note('world', 'nothing goes wrong any more');
    this.#simulation.calm = true;
    this.#simulation.away = false;
    for (const daemon of daemons) daemon.start();
  }

  /** `undefined`: for nothing. Says what when it is asked: only the last look is. */
  async #waitsFor(): Promise<(() => string) | undefined> {
    const { store, daemons, followers, plan } = this.#simulation;
    const { position } = await store.head();
    const cursors = await store.listCursors();
    const undeclared = this.#reactors.find((name) => !cursors.some(({ subscription }) => subscription === name));
    // Whoever was away from the beginning: the daemons know nothing of it yet.
    if (undeclared !== undefined) return () => `${undeclared}, which nobody has declared`;
    const parked = await store.listParked({ limit: 5 });
    const outbox = await store.listOutbox({ limit: 5 });
    const dead = [...parked, ...outbox].filter(({ state }) => state === 'dead');
    if (dead.length > 0) {
      this.#replay();
      return () => `dead letters: ${JSON.stringify(dead).slice(0, 500)}`;
    }
    if (parked.length > 0) return () => `parked keys: ${JSON.stringify(parked)}`;
    if (outbox.length > 0)
      return () => `${outbox.length} outputs, the first of ${outbox[0]!.subscription} ${outbox[0]!.position}`;
    const late = cursors.find((cursor) => cursor.position < position);
    if (late !== undefined) return () => `a cursor: ${JSON.stringify(late)}, the log ends at ${position}`;
    for (const { subscription, partition } of cursors) {
      const due = await store.nextTimerDue(subscription, partition);
      if (due !== undefined) return () => `a timer of partition ${partition}`;
    }
    if (plan.rebuildAtMs > 0 && !(await this.#simulation.rebuilt())) return () => 'the rebuild';
    const behind = followers.find((follower) => follower.position < position);
    if (behind !== undefined) return () => `a follower at ${behind.position}, the log ends at ${position}`;
    return daemons.every(({ engine }) => engine !== undefined) ? undefined : () => 'a daemon that does not start';
  }

  get #reactors(): readonly string[] {
    return this.#simulation.plan.workload === 'orders' ? [PROCESS_MANAGER] : [SAGA, PROJECTOR];
  }

  /** An operator. */
  #replay(): void {
    const engine = this.#simulation.daemons.find(
      (daemon) => daemon.engine !== undefined && !daemon.process.dead,
    )?.engine;
    if (engine === undefined) return;
    const caller = { deadlineMs: Infinity, signal: new AbortController().signal };
    // Whatever fails is tried again with the next look.
    for (const name of this.#reactors) void engine.deadLetters.replayAll(name, caller).catch(() => {});
  }
}
