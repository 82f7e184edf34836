// Preloaded into a daemon and its workers: the clock of the wall as somebody set it wrong. A file says by how many milliseconds; it is
// read ten times a second. What counts time without a beginning (performance.now, timers) goes on as it does on a real machine.

import { readFileSync } from 'node:fs';

const path = process.env.DAYBOOK_CHAOS_CLOCK;
if (path !== undefined) {
  const now = Date.now;
  let shiftMs = 0;
  const read = () => {
    try {
      shiftMs = Number(readFileSync(path, 'utf8')) || 0;
    } catch {
      // Nobody has set it yet.
      shiftMs = 0;
    }
  };
  read();
  setInterval(read, 100).unref();
  Date.now = () => now() + shiftMs;
}
