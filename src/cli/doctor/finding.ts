/** Something that was looked at. A fault is wrong; a warning works, but not well or not for ever. */
export interface Finding {
  level: 'ok' | 'warn' | 'fault';
  /** The part concerned, in a word. */
  about: string;
  /** What was found and, unless it is ok, what to do. */
  sentence: string;
}

export const ok = (about: string, sentence: string): Finding => ({ level: 'ok', about, sentence });
export const warn = (about: string, sentence: string): Finding => ({ level: 'warn', about, sentence });
export const fault = (about: string, sentence: string): Finding => ({ level: 'fault', about, sentence });

export function bytesText(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = bytes;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
