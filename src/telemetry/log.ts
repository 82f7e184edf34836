// One JSON object a line on stderr; readable lines when stderr is a terminal. Stdout stays free for what a command answers.

import { pino } from 'pino';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';

type Write = (fields: Record<string, unknown>, message: string) => void;

/**
 * What the daemon tells about itself. `fields` are for programs, the message is a sentence without them; an error goes
 * under `err`. The level is one for a logger and all its children, and may change at any time.
 */
export interface Logger {
  level: LogLevel;
  trace: Write;
  debug: Write;
  info: Write;
  warn: Write;
  error: Write;
  fatal: Write;
  /** The same with these fields on every line. */
  child(fields: Record<string, unknown>): Logger;
}

export interface LogOptions {
  level: LogLevel;
  /** Where lines go; stderr if absent. */
  stream?: { write(line: string): void };
  /** Readable lines; if absent, when stderr is a terminal. */
  pretty?: boolean;
}

export async function openLog(options: LogOptions): Promise<Logger> {
  const root = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: SECRET_KEYS.flatMap((key) => [key, `*.${key}`]), censor: '(secret)' },
      // The last door: a driver's message may quote the address it could not reach, password included.
      hooks: { streamWrite: (line) => line.replace(/(:\/\/[^\s/:@"\\]*):[^\s/@"\\]+@/g, '$1:(secret)@') },
    },
    await openStream(options),
  );
  return logger(root, {});
}

async function openStream(options: LogOptions): Promise<{ write(line: string): void }> {
  const stream = options.stream ?? openStderr();
  if (!(options.pretty ?? process.stderr.isTTY)) return stream;
  const { prettyFactory } = await import('pino-pretty');
  const pretty = prettyFactory({ translateTime: 'SYS:HH:MM:ss.l', colorize: options.stream === undefined });
  return { write: (line) => void stream.write(pretty(line)) };
}

function openStderr(): { write(line: string): void } {
  const stderr = pino.destination({ dest: 2, sync: true });
  // Nobody reads the log any more: no reason to fail.
  stderr.on('error', () => {});
  return { write: (line) => void stderr.write(line) };
}

/** pino's own children keep the level they were made with; these follow the root. */
function logger(root: pino.Logger, bound: Record<string, unknown>): Logger {
  const at =
    (level: LogLevel): Write =>
    (fields, message) => {
      if (root.isLevelEnabled(level)) root[level]({ ...bound, ...fields }, message);
    };
  return {
    get level() {
      return root.level as LogLevel;
    },
    set level(level) {
      root.level = level;
    },
    trace: at('trace'),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    fatal: at('fatal'),
    child: (fields) => logger(root, { ...bound, ...fields }),
  };
}

const SECRET_KEYS = ['password', 'token', 'secret', 'authorization', 'connectionString', 'connection_string'];
