// Consistency tokens: opaque to clients, so that a position is never taken for more than it is. A token names the log and
// its incarnation besides, so that whoever is ahead of a restored log finds out.

export interface Token {
  logId: string;
  incarnation: string;
  position: number;
}

export function encodeToken(token: Token): string {
  return `${token.logId}.${token.incarnation}.${token.position.toString(36)}`;
}

/** `undefined` for text that is no token. */
export function decodeToken(text: string): Token | undefined {
  const parts = /^([0-9a-f-]{36})\.([0-9a-f-]{36})\.([0-9a-z]{1,11})$/.exec(text);
  if (parts === null) return undefined;
  const position = Number.parseInt(parts[3]!, 36);
  return Number.isSafeInteger(position) ? { logId: parts[1]!, incarnation: parts[2]!, position } : undefined;
}
