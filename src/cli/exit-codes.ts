/** Also told by `daybook --help`. */
export const EXIT = {
  /** The configuration, the log or the daemon says no. */
  fault: 1,
  /** The command was not understood. */
  usage: 2,
  /** No daemon answers. */
  unreachable: 3,
  /** The domain refused the command: a decision, not a failure. */
  rejected: 4,
} as const;

/** Ends a command with one or more sentences on stderr. */
export class Exit extends Error {
  readonly code: number;

  constructor(code: number, sentence: string) {
    super(sentence);
    this.name = 'Exit';
    this.code = code;
  }
}

export function usage(sentence: string): Exit {
  return new Exit(EXIT.usage, sentence);
}
