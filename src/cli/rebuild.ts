// `daybook rebuild`: a projector is built anew, and this tells how far it is.

import { ControlDefinition, type RebuildProgress, type RebuildRequest } from '../gen/daybook/v1/control.ts';
import { parseTime, wholeNumber } from './arguments.ts';
import { type ConnectOptions, daemonAddress, stream } from './connect.ts';
import { durationText, millisecondsOf } from './durations.ts';
import { EXIT, Exit, usage } from './exit-codes.ts';
import { complain, print } from './output.ts';

export interface RebuildOptions extends ConnectOptions {
  from: string;
  json?: boolean;
}

/** Where nobody watches a terminal, one line in so long. */
const LINE_MS = 10_000;

export async function rebuild(projector: string, options: RebuildOptions): Promise<void> {
  const start = startOf(options.from);
  const address = daemonAddress(options);
  const line = new ProgressLine();
  let warned = false;
  for await (const progress of stream(address, ControlDefinition, 'rebuild', { projector, start })) {
    const { generation, position, parked, switched } = progress;
    if (options.json) await print(JSON.stringify(progressJson(projector, progress)));
    else line.show(`${projector}: ${text(progress)}`);
    if (parked > 0 && !warned && !options.json) {
      warned = true;
      line.end();
      complain(`parked keys hold the switch up: daybook parked list --subscription ${projector}`);
    }
    if (!switched) continue;
    line.end();
    if (!options.json) await print(`${projector}: readers get generation ${generation}, at position ${position}`);
    return;
  }
  line.end();
  throw new Exit(EXIT.fault, `${projector}: the daemon told no more before readers were switched over; ask again`);
}

function text({ position, target, eventsPerSecond, timeLeft, parked, generation }: RebuildProgress): string {
  const share = target === 0 ? 100 : Math.floor((Math.min(position, target) / target) * 100);
  const left = timeLeft === undefined ? '' : `, ${durationText(millisecondsOf(timeLeft))} left`;
  const held = parked === 0 ? '' : `, ${parked} parked`;
  const rate = Math.round(eventsPerSecond);
  return `generation ${generation} at position ${position} of ${target} (${share} %), ${rate} a second${left}${held}`;
}

function progressJson(projector: string, progress: RebuildProgress): object {
  const { generation, position, target, eventsPerSecond, timeLeft, parked, switched } = progress;
  return {
    projector,
    generation,
    position,
    target,
    events_per_second: Math.round(eventsPerSecond),
    ms_left: timeLeft && Math.round(millisecondsOf(timeLeft)),
    parked,
    switched,
  };
}

function startOf(from: string): RebuildRequest['start'] {
  if (from === 'beginning') return { start: { $case: 'beginning', value: true } };
  if (from === 'now') return { start: { $case: 'now', value: true } };
  if (/^\d+$/.test(from)) {
    const position = wholeNumber('--from', 1, Number.MAX_SAFE_INTEGER)(from);
    return { start: { $case: 'afterPosition', value: position - 1 } };
  }
  if (!/^\d{4}-/.test(from)) throw usage(`--from: expected beginning, now, a position or a time, found ${from}`);
  return { start: { $case: 'fromTime', value: parseTime('--from', from) } };
}

/** A line that is written over on a terminal; elsewhere the first at once, then one in ten seconds. */
class ProgressLine {
  readonly #tty = process.stderr.isTTY;
  #next = 0;
  #open = false;

  show(line: string): void {
    const now = performance.now();
    if (this.#tty) process.stderr.write(`\r${line}\x1b[K`);
    else if (now >= this.#next) complain(line);
    else return;
    this.#open = this.#tty;
    this.#next = now + LINE_MS;
  }

  end(): void {
    if (this.#open) process.stderr.write('\n');
    this.#open = false;
  }
}
