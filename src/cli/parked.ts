// `daybook parked`: what could not be delivered, and what to do about it.

import { type DeadLetter, DeadLettersDefinition, ParkedState } from '../gen/daybook/v1/dead_letters.ts';
import type { Cover, Timestamp } from '../model/book.ts';
import { uuidText } from '../model/stream.ts';
import { timeText, toMicros } from '../model/time.ts';
import type { PayloadTypes } from '../payloads/payload-types.ts';
import { describe } from '../payloads/text.ts';
import { type ConnectOptions, call, daemonAddress } from './connect.ts';
import { usage } from './exit-codes.ts';
import { Columns, complain, plainText, print } from './output.ts';
import { aggregateJson, eventText, pageJson, payloadJson, payloadType } from './pages.ts';
import { fetchTypes } from './types.ts';

export interface ListOptions extends ConnectOptions {
  subscription?: string;
  state?: 'retrying' | 'dead' | 'draining';
  tenant?: string;
  limit: number;
  json?: boolean;
}

const STATES = {
  retrying: ParkedState.PARKED_STATE_RETRYING,
  dead: ParkedState.PARKED_STATE_DEAD,
  draining: ParkedState.PARKED_STATE_DRAINING,
} as const;
const PAGE = 500;
/** Of a sentence in the list; `show` has all of it. */
const SENTENCE = 60;

export async function list(options: ListOptions): Promise<void> {
  const { subscription = '', state, tenant, limit, json } = options;
  if (options.subscription === '') throw usage('--subscription: expected a name, found nothing');
  const address = daemonAddress(options);
  const columns = new Columns([
    { title: 'STATE', width: 8 },
    { title: 'SUBSCRIPTION', width: 16 },
    { title: 'KEY', width: 48 },
    { title: 'POSITION', right: true },
    { title: 'ATTEMPTS', right: true },
    { title: 'SINCE', width: 20 },
    { title: 'REASON', width: 16 },
    { title: 'MESSAGE', width: SENTENCE },
    { title: 'ID' },
  ]);
  let shown = 0;
  for (let pageToken = ''; ; ) {
    const page = await call(address, DeadLettersDefinition, 'list', {
      subscription,
      state: state === undefined ? ParkedState.PARKED_STATE_UNSPECIFIED : STATES[state],
      tenant: tenant ?? '',
      allTenants: tenant === undefined,
      pageSize: Math.min(PAGE, limit - shown),
      pageToken,
    });
    for (const each of page.deadLetters) {
      if (json) await print(JSON.stringify(letterJson(each)));
      else {
        if (shown === 0) await print(columns.header());
        await print(columns.line(cells(each)));
      }
      shown++;
    }
    pageToken = page.nextPageToken;
    if (pageToken === '') break;
    if (shown < limit) continue;
    complain(`only the first ${shown} of ${page.total} are shown; --limit takes another number`);
    return;
  }
  if (shown === 0) complain('nothing is held up');
}

export async function show(id: string, options: ConnectOptions & { json?: boolean; raw?: boolean }): Promise<void> {
  const address = daemonAddress(options);
  const letter = await call(address, DeadLettersDefinition, 'get', { id });
  const { raw = false } = options;
  const types = raw ? undefined : await fetchTypes(address);
  if (options.json) return print(JSON.stringify(wholeJson(letter, { raw, types })));
  const { subscription, generation, attempts, parkedAt, nextAttemptAt, reason, message, waiting } = letter;
  const line = (name: string, text: string) => print(plainText(`${name.padEnd(9)} ${text}`));
  await line('state', `${stateText(letter)}${STATE_MEANS[stateText(letter)] ?? ''}`);
  await line('of', `${subscription}, generation ${generation}`);
  await line('key', keyText(letter.key));
  for (const text of whatFailed(letter, raw, types)) await line('failed', text);
  await line('attempts', `${attempts}, since ${timeOf(parkedAt)}`);
  if (nextAttemptAt !== undefined) await line('next', timeOf(nextAttemptAt));
  if (reason !== '' || message !== '') await line('reason', [reason, message].filter((text) => text !== '').join(': '));
  await line('waiting', `${waiting === 1000 ? '1000 or more' : waiting} behind it`);
  await line('id', letter.id);
}

export async function replay(
  id: string | undefined,
  options: ConnectOptions & { all?: string; force?: boolean; json?: boolean },
): Promise<void> {
  const { all, force = false, json } = options;
  if ((id === undefined) === (all === undefined)) throw usage('expected either an id or --all <subscription>');
  const which =
    id === undefined ? ({ $case: 'subscription', value: all! } as const) : ({ $case: 'id', value: id } as const);
  const { replayed } = await call(daemonAddress(options), DeadLettersDefinition, 'replay', { which, force });
  if (json) return print(JSON.stringify({ replayed }));
  const what = replayed === 0 ? 'nothing is held up' : replayed === 1 ? 'one is tried' : `${replayed} are tried`;
  await print(replayed === 0 ? what : `${what} again now`);
}

export async function discard(id: string, options: ConnectOptions & { reason: string }): Promise<void> {
  const { reason } = options;
  if (reason === '') throw usage('--reason: expected a sentence, found nothing');
  await call(daemonAddress(options), DeadLettersDefinition, 'discard', { id, reason });
  await print('given up: what waited behind it goes on');
}

// For people

const STATE_MEANS: Record<string, string> = {
  retrying: ': tried again by itself',
  dead: ': waits for replay or discard',
  draining: ': has succeeded and catches up',
};

function cells(letter: DeadLetter): string[] {
  const { subscription, position, attempts, parkedAt, reason, message, id } = letter;
  // Which component and which event: other columns say so.
  const what = message.replace(/^[^ :]+: events? \d+( to \d+)? of [^ ]+: /, '');
  const sentence = what.length > SENTENCE ? `${what.slice(0, SENTENCE - 1)}…` : what;
  const since = `${timeOf(parkedAt).slice(0, 19)}Z`;
  const numbers = [String(position), String(attempts)];
  return [stateText(letter), subscription, keyText(letter.key), ...numbers, since, reason, sentence, id];
}

function stateText({ state }: DeadLetter): string {
  return Object.entries(STATES).find(([, value]) => value === state)?.[0] ?? String(state);
}

/** An aggregate, a process by its correlation id, or all of an ordered projector. */
function keyText(key: Cover | undefined): string {
  if (key === undefined) return 'everything, in log order';
  const tenant = key.tenant === '' ? '' : `${key.tenant}/`;
  if (key.root === undefined) return `${tenant}${key.correlationId}`;
  return `${tenant}${key.domain}/${uuidText(key.root.value)}`;
}

function whatFailed({ event, command, position }: DeadLetter, raw: boolean, types: PayloadTypes | undefined): string[] {
  const payload = (any: Parameters<typeof describe>[0]) => (raw ? payloadType(any, { raw }) : describe(any, types));
  const found: string[] = [];
  for (const page of event?.pages ?? []) {
    const place = page.position === 0 ? keyText(event!.cover) : eventText(event!.cover!, page.sequence);
    found.push(`${page.position === 0 ? 'the fact' : 'the event'} ${place}  ${payload(page.event!)}`);
  }
  for (const page of command?.pages ?? []) {
    found.push(`the command to ${keyText(command!.cover)}  ${payload(page.command!)}`);
  }
  return found.length > 0 ? found : [`what follows from position ${position}`];
}

function timeOf(time: Timestamp | undefined): string {
  return time === undefined ? '' : timeText(toMicros(time));
}

// For programs

function letterJson(letter: DeadLetter): object {
  const { id, subscription, generation, key, position, attempts, parkedAt, nextAttemptAt, reason, message } = letter;
  return {
    id,
    subscription,
    generation,
    state: stateText(letter),
    key: key && {
      tenant: key.tenant || undefined,
      ...(key.root && aggregateJson(key)),
      correlation_id: key.correlationId || undefined,
    },
    position,
    attempts,
    parked_at: timeOf(parkedAt),
    next_attempt_at: nextAttemptAt && timeOf(nextAttemptAt),
    reason: reason || undefined,
    message: message || undefined,
  };
}

function wholeJson(letter: DeadLetter, show: { raw: boolean; types: PayloadTypes | undefined }): object {
  const { event, command, waiting } = letter;
  return {
    ...letterJson(letter),
    waiting,
    events: event?.pages.map((page) => pageJson(event.cover!, page, show)),
    command: command && {
      ...aggregateJson(command.cover!),
      correlation_id: command.cover!.correlationId || undefined,
      pages: command.pages.map((page) => payloadJson(page.command, show)),
    },
  };
}
