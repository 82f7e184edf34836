// Sends the commands of the day, one after the other, and tells what was answered and what followed from it.

import { type Client, type CommandResponse, type EventBook, Rejected, typeName } from '@daybook/client';
import type { ShopCommand } from './commands.ts';

export interface Outcomes {
  decided: number;
  rejected: number;
  repeated: number;
  /** By order or article: how far the log was when its last command had been answered and told. */
  told: Map<string, number>;
}

export async function play(client: Client, commands: readonly ShopCommand[]): Promise<Outcomes> {
  const outcomes: Outcomes = { decided: 0, rejected: 0, repeated: 0, told: new Map() };
  const width = Math.max(...commands.map(({ text }) => text.length)) + 2;
  console.log(`${''.padEnd(8)}${'asked'.padEnd(width)}answer`);
  for (const { of, text, command } of commands) {
    const asked = `${of.padEnd(8)}${text.padEnd(width)}`;
    try {
      // CASCADE: the answer comes when everything that follows has happened, but for timers.
      const response = await client.executeSync(command, { mode: 'cascade' });
      outcomes[response.duplicate ? 'repeated' : 'decided']++;
      console.log(`${asked}${answerOf(response)}`);
      if (!response.duplicate) outcomes.told.set(of, await tellReactions(client, of, response));
    } catch (error) {
      if (!(error instanceof Rejected)) throw error;
      outcomes.rejected++;
      console.log(`${asked}✗ ${error.rejectionCode}: ${error.rejection.message}`);
    }
  }
  return outcomes;
}

/** Follows what has the order's number as its correlation id, as it happens, until events of all these types have come. */
export async function follow(client: Client, orderNo: string, after: number, types: readonly string[]): Promise<void> {
  const missing = new Set(types);
  const query = { start: { afterPosition: after }, correlationId: orderNo, follow: true };
  for await (const { books } of client.readLog(query, { signal: AbortSignal.timeout(60_000) })) {
    for (const name of books.flatMap(namesOf)) {
      console.log(`${orderNo.padEnd(8)}  → ${name}`);
      missing.delete(name);
    }
    if (missing.size === 0) return;
  }
}

function answerOf({ events, duplicate, settled }: CommandResponse): string {
  const names = namesOf(events!);
  if (names.length === 0) return '· nothing to do';
  return `✓ ${names.join(', ')}${duplicate ? ', as before: the same key' : ''}${settled ? '' : ' (more follows)'}`;
}

/** What sagas and process managers made of it. Returns how far the log was read. */
async function tellReactions(client: Client, of: string, response: CommandResponse): Promise<number> {
  const { correlationId } = response.events!.cover!;
  const names: string[] = [];
  let seen = response.position;
  for await (const { books, position } of client.readLog({ start: { afterPosition: seen }, correlationId })) {
    names.push(...books.flatMap(namesOf));
    seen = position;
  }
  if (names.length > 0) console.log(`${of.padEnd(8)}  → ${names.join(', ')}`);
  for (const { component, message } of response.reactionErrors) {
    console.log(`${of.padEnd(8)}  ✗ ${component}: ${message}`);
  }
  return seen;
}

function namesOf({ pages }: EventBook): string[] {
  return pages.map((page) => typeName(page.event!).replace(/^.*\./, ''));
}
