// Series of measurements, and what is shown of them.

/** One figure for each round. */
export type Series = readonly number[];

export function median(series: Series): number {
  const sorted = [...series].sort((a, b) => a - b);
  const middle = sorted.length >>> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function sum(series: Series): number {
  return series.reduce((a, b) => a + b, 0);
}

/** Of each round, so that what the machine did meanwhile meets both sides. */
export function ratios(ours: Series, yardstick: Series): Series {
  return ours.map((value, i) => value / yardstick[i]!);
}

/** Round by round the best of several. */
export function best(...all: Series[]): Series {
  return all[0]!.map((_, i) => Math.max(...all.map((series) => series[i]!)));
}

/** A B A B …: one after the other, so that both sides see the same machine. The figures of each side. */
export async function alternate<Name extends string>(
  rounds: number,
  sides: Record<Name, () => Promise<number>>,
): Promise<Record<Name, number[]>> {
  const figures = Object.fromEntries(Object.keys(sides).map((name) => [name, [] as number[]])) as Record<
    Name,
    number[]
  >;
  for (let round = 0; round < rounds; round++) {
    for (const name of Object.keys(sides) as Name[]) figures[name].push(await sides[name]());
  }
  return figures;
}

/** Three digits that matter, and thousands apart. */
export function shown(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  return value.toPrecision(3);
}

/** As `1,234 (1,200–1,300)`. */
export function spread(series: Series): string {
  const middle = shown(median(series));
  if (series.length === 1) return middle;
  return `${middle} (${shown(Math.min(...series))}–${shown(Math.max(...series))})`;
}
