// What one seed does to a user's components, as data: the order of the commands, which are sent twice, and after which of them something is
// killed.

import { pick, stream, whole } from '../../simulation/random.ts';
import type { Troubles } from '../../simulation/troubled-store.ts';
import { byAggregate, type Line } from './commands.ts';

export interface Sent {
  line: Line;
  key: string;
  /** Sent so many times at once. */
  copies: number;
  /** Asked again at the end. */
  again: boolean;
}

export type Blow = 'kill component' | 'stop component' | 'kill daemon' | 'stop daemon';

export interface Schedule {
  /** One list for each aggregate: sent one after the other, lists beside each other. */
  lanes: Sent[][];
  /** After so many answers. */
  blows: { after: number; blow: Blow; component: number }[];
  troubles: Troubles;
}

export function scheduleOf(seed: number, lines: readonly Line[], components: number): Schedule {
  const random = stream(seed, 0);
  const lanes = byAggregate(lines).map((lane) =>
    lane.map((line): Sent => {
      const copies = random() < 0.25 ? 2 : 1;
      return { line, key: `simulated-${seed}-${line.number}`, copies, again: random() < 0.5 };
    }),
  );
  // Any lane may come first.
  for (let i = lanes.length - 1; i > 0; i--) {
    const j = whole(random, 0, i);
    [lanes[i], lanes[j]] = [lanes[j]!, lanes[i]!];
  }
  const blows: Schedule['blows'] = [];
  for (let count = whole(random, 0, 4); count > 0; count--) {
    const blow = pick<Blow>(random, [
      'kill component',
      'kill component',
      'stop component',
      'kill daemon',
      'stop daemon',
    ]);
    blows.push({ after: whole(random, 0, lines.length), blow, component: whole(random, 0, components - 1) });
  }
  blows.sort((a, b) => a.after - b.after);
  const troubled = (most: number) => (random() < 0.5 ? 0 : random() * most);
  return { lanes, blows, troubles: { slow: troubled(0.1), failBefore: troubled(0.02), failAfter: troubled(0.02) } };
}
