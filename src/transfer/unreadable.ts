/** A line that is not what it should be: what, what was expected, and what was found. */
export class Unreadable extends Error {
  constructor(what: string, expected: string, found: unknown) {
    super(`${what}: expected ${expected}, found ${shown(found)}`);
    this.name = 'Unreadable';
  }
}

const SHOWN_MAX = 120;

function shown(found: unknown): string {
  if (found === undefined) return 'nothing';
  const text = JSON.stringify(found);
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}
