// `daybook send`: one command, written as JSON.

import { createHash } from 'node:crypto';
import { text as readAll } from 'node:stream/consumers';
import { nearest } from '../config/values.ts';
import { BusinessCoordinatorDefinition } from '../gen/daybook/v1/coordinators.ts';
import { CommandGatewayDefinition } from '../gen/daybook/v1/gateway.ts';
import type { CommandBook, CommandResponse, EventBook, Rejection } from '../gen/daybook/v1/types.ts';
import { type Any, typeName } from '../model/book.ts';
import { uuidText } from '../model/stream.ts';
import { packJson } from '../payloads/json.ts';
import type { PayloadTypes } from '../payloads/payload-types.ts';
import { describe } from '../payloads/text.ts';
import { systemRuntime } from '../runtime.ts';
import { CallFailed, type ConnectOptions, call, daemonAddress } from './connect.ts';
import { pointInTime } from './events.ts';
import { EXIT, Exit, usage } from './exit-codes.ts';
import { plainText, print } from './output.ts';
import { pageJson, payloadJson } from './pages.ts';
import { fetchTypes } from './types.ts';

export const SYNC_MODES = { none: 0, simple: 1, cascade: 2 } as const;

export interface SendOptions extends ConnectOptions {
  root?: string;
  sequence?: number;
  key?: string;
  correlationId?: string;
  tenant?: string;
  sync: keyof typeof SYNC_MODES;
  jsonPayload?: boolean;
  dryRun?: boolean;
  asOf?: string;
  json?: boolean;
}

interface Outcome {
  outcome: 'decided' | 'rejected';
  duplicate?: boolean;
  settled?: boolean;
  position?: number;
  book?: EventBook;
  rejection?: Rejection;
  nextSequence?: number;
}

export async function send(domain: string, type: string, content: string, options: SendOptions): Promise<void> {
  if (!/^[a-z][a-z0-9_-]{0,63}$/.test(domain)) throw usage(`expected a domain as order, found ${domain}`);
  if (options.asOf !== undefined && !options.dryRun) throw usage('--as-of goes with --dry-run only');
  if (options.dryRun && options.sync !== 'none') throw usage('--dry-run and --sync exclude each other');
  const address = daemonAddress(options);
  const json = content === '-' ? await readAll(process.stdin) : content;
  const types = await fetchTypes(address);
  const payload = encodePayload(types, type, json, options.jsonPayload === true);
  const command = bookOf(domain, payload, options);
  const outcome = options.dryRun ? await dryRun(address, command, options) : await execute(address, command, options);
  await tell(command, outcome, types, options);
  if (outcome.outcome === 'rejected') process.exitCode = EXIT.rejected;
}

function bookOf(domain: string, payload: Any, options: SendOptions): CommandBook {
  const runtime = systemRuntime();
  const root = options.root === undefined ? runtime.uuid() : rootOf(options.root);
  return {
    cover: {
      domain,
      root: { value: root },
      // Made here, so that it can be told also when the command is rejected.
      correlationId: options.correlationId ?? uuidText(runtime.uuid()),
      tenant: options.tenant ?? '',
    },
    pages: [{ sequence: options.sequence, command: payload }],
    origin: undefined,
    idempotencyKey: options.dryRun ? '' : (options.key ?? uuidText(runtime.uuid())),
    metadata: {},
    workId: '',
  };
}

async function execute(address: string, command: CommandBook, { sync }: SendOptions): Promise<Outcome> {
  try {
    const response: CommandResponse =
      sync === 'none'
        ? await call(address, CommandGatewayDefinition, 'execute', command)
        : await call(address, CommandGatewayDefinition, 'executeSync', {
            command,
            syncMode: SYNC_MODES[sync],
            waitTimeout: undefined,
          });
    const { events, duplicate, settled, position } = response;
    return { outcome: 'decided', duplicate, settled, position, book: events!, nextSequence: events!.nextSequence };
  } catch (thrown) {
    if (!(thrown instanceof CallFailed) || thrown.rejection === undefined) throw thrown;
    return { outcome: 'rejected', rejection: thrown.rejection };
  }
}

async function dryRun(address: string, command: CommandBook, { asOf }: SendOptions): Promise<Outcome> {
  const request = { command, asOf: asOf === undefined ? undefined : pointInTime(asOf) };
  const { result, nextSequence } = await call(address, BusinessCoordinatorDefinition, 'dryRun', request);
  if (result?.$case === 'rejection') return { outcome: 'rejected', rejection: result.value, nextSequence };
  return { outcome: 'decided', book: result!.value, nextSequence };
}

async function tell(
  command: CommandBook,
  { outcome, duplicate, settled, position, book, rejection, nextSequence }: Outcome,
  types: PayloadTypes | undefined,
  options: SendOptions,
): Promise<void> {
  const cover = command.cover!;
  const root = uuidText(cover.root!.value);
  const show = { raw: false, types };
  if (options.json) {
    const told = {
      outcome,
      dry_run: options.dryRun || undefined,
      duplicate: duplicate || undefined,
      settled,
      position,
      ...(cover.tenant === '' ? {} : { tenant: cover.tenant }),
      domain: cover.domain,
      root,
      next_sequence: nextSequence,
      correlation_id: cover.correlationId,
      idempotency_key: command.idempotencyKey || undefined,
      events: book?.pages.map((page) => pageJson({ ...cover, correlationId: '' }, page, show)),
      rejection: rejection && {
        kind: KINDS[rejection.kind] ?? 'conflict',
        code: rejection.code,
        message: rejection.message,
        details: rejection.details && payloadJson(rejection.details, show),
      },
    };
    return print(JSON.stringify(told));
  }
  const line = (text: string) => print(plainText(text));
  const name = typeName(command.pages[0]!.command!.typeUrl);
  await line(
    `${name === 'daybook.v1.Json' ? describe(command.pages[0]!.command!, types) : name} to ${cover.domain}/${root}`,
  );
  if (rejection !== undefined) {
    await line(`${options.dryRun ? 'would be rejected' : 'rejected'}: ${rejectionText(rejection)}`);
    if (rejection.details !== undefined) await line(`  ${describe(rejection.details, types)}`);
  } else {
    const pages = book!.pages;
    const what = pages.length === 0 ? 'nothing happens' : pages.length === 1 ? 'one event' : `${pages.length} events`;
    const where = options.dryRun
      ? `, nothing is stored`
      : `${pages.length === 0 ? '' : ` at position ${position}`}${duplicate ? ', as the first time: the key was known' : ''}`;
    await line(`${options.dryRun ? 'would be decided' : 'decided'}: ${what}${where}`);
    for (const page of pages) await line(`  #${page.sequence}  ${describe(page.event!, types)}`);
    if (options.sync !== 'none' && !settled) await line('what follows from it has not settled yet');
  }
  if (!options.dryRun) await line(`correlation id: ${cover.correlationId}`);
}

const KINDS: Record<number, string> = { 1: 'invalid', 2: 'conflict', 3: 'not-found', 4: 'denied' };

export function rejectionText({ code, message }: Rejection): string {
  return [code, message].filter((text) => text !== '').join(': ') || 'without a reason';
}

// The payload

/** As JSON where nobody knows its type, else in the Protobuf type that is meant. */
export function encodePayload(types: PayloadTypes | undefined, type: string, json: string, asJson: boolean): Any {
  return asJson ? jsonPayload(type, json) : encode(types, type, json);
}

function jsonPayload(type: string, json: string): Any {
  try {
    JSON.parse(json);
  } catch (thrown) {
    throw usage(`expected JSON: ${(thrown as Error).message}`);
  }
  return packJson(type, json);
}

function encode(types: PayloadTypes | undefined, name: string, json: string): Any {
  const type = resolve(types, name);
  try {
    return types!.encode(type, json);
  } catch (thrown) {
    throw usage(`${type}: ${(thrown as Error).message}`);
  }
}

const CANDIDATES_MAX = 10;

/** The full name of the type that is meant. */
function resolve(types: PayloadTypes | undefined, name: string): string {
  const all = types?.names() ?? [];
  if (types === undefined || all.length === 0) {
    throw new Exit(
      EXIT.fault,
      `${name}: the daemon knows no descriptors: attach a component that brings them along, name files under the key descriptors, or send --json-payload`,
    );
  }
  const [type, ...others] = types.named(name);
  if (type === undefined) {
    // The most similar ones first.
    const short = (full: string) => full.slice(full.lastIndexOf('.') + 1);
    const near = nearest(short(name), all.map(short));
    const candidates = [...all.filter((full) => short(full) === near), ...all.filter((full) => short(full) !== near)];
    throw new Exit(EXIT.fault, `${name}: no such type among ${listed(candidates)}`);
  }
  if (others.length > 0) throw new Exit(EXIT.fault, `${name} may be ${listed([type, ...others])}: say which`);
  return type;
}

function listed(names: readonly string[]): string {
  const more = names.length - CANDIDATES_MAX;
  return `${names.slice(0, CANDIDATES_MAX).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

// The root

/** A UUID, 32 hexadecimal digits, or any other name: the same name always gives the same root, in the clients of all languages. */
export function rootOf(text: string): Uint8Array {
  if (text === '') throw usage('--root: expected a UUID or a name, found nothing');
  if (/^([0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/i.test(text)) {
    return Uint8Array.from(Buffer.from(text.replaceAll('-', ''), 'hex'));
  }
  const dns = Buffer.from('6ba7b8109dad11d180b400c04fd430c8', 'hex');
  return nameBased(nameBased(dns, 'daybook.dev'), text);
}

/** A UUIDv5. */
function nameBased(namespace: Uint8Array, name: string): Uint8Array {
  const id = createHash('sha1').update(namespace).update(name).digest().subarray(0, 16);
  id[6] = 0x50 | (id[6]! & 0x0f);
  id[8] = 0x80 | (id[8]! & 0x3f);
  return Uint8Array.from(id);
}
