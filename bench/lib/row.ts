// A row of the table: what is measured, against what, and what it must reach.

import type { Bench } from './bench.ts';
import { median, ratios, type Series, spread } from './figures.ts';

export interface Row {
  /** As in the table of targets: P1 to P13; rows beside it have names of their own. */
  readonly id: string;
  readonly what: string;
  measure(bench: Bench): Promise<Measured[]>;
}

export interface Measured {
  /** Which of several figures of a row this is. */
  readonly part?: string;
  readonly ours: Series;
  readonly unit: string;
  /** Absent: the figure itself is compared with the target. */
  readonly yardstick?: { readonly name: string; readonly series: Series };
  /** Absent: shown for comparison only. */
  readonly target?: Target;
  /** Said below the table. */
  readonly notes?: readonly string[];
}

export interface Target {
  readonly kind: 'at-least' | 'at-most';
  readonly value: number;
}

export interface Line {
  readonly row: string;
  readonly what: string;
  readonly ours: Series;
  readonly unit: string;
  readonly yardstick: Measured['yardstick'] | undefined;
  /** Ours by the yardstick, round by round; the figure itself without one. */
  readonly ratio: Series;
  readonly target: Target | undefined;
  readonly met: boolean | undefined;
  readonly notes: readonly string[];
}

export function lineOf(row: Row, measured: Measured): Line {
  const { part, ours, unit, yardstick, target, notes = [] } = measured;
  const ratio = yardstick === undefined ? ours : ratios(ours, yardstick.series);
  const value = median(ratio);
  const met = target && (target.kind === 'at-least' ? value >= target.value : value <= target.value);
  const what = part === undefined ? row.what : `${row.what}: ${part}`;
  return { row: row.id, what, ours, unit, yardstick, ratio, target, met, notes };
}

const HEAD = '| row | measured | figure | yardstick | ratio | target | |\n|---|---|---|---|---|---|---|';

/** For bench/README.md. Medians, and from which to which in brackets. */
export function table(lines: readonly Line[]): string {
  const rows = lines.map((line) => {
    const { row, what, ours, unit, yardstick, ratio, target, met } = line;
    const against = yardstick === undefined ? '' : `${yardstick.name}: ${spread(yardstick.series)}`;
    const compared = yardstick === undefined ? '' : spread(ratio);
    const goal = target === undefined ? '' : `${target.kind === 'at-least' ? '≥' : '≤'} ${target.value}`;
    const verdict = met === undefined ? '' : met ? 'met' : '**not met**';
    return `| ${row} | ${what} | ${spread(ours)} ${unit} | ${against} | ${compared} | ${goal} | ${verdict} |`;
  });
  const notes = lines.flatMap(({ row, notes }) => notes.map((note) => `- ${row}: ${note}`));
  return [HEAD, ...rows, ...(notes.length > 0 ? ['', ...notes] : [])].join('\n');
}
