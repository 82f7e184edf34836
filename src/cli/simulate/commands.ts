// The commands of a simulation: JSON lines, each as `daybook send` takes it. Commands of one aggregate are sent in the order of the file.

import { readFileSync } from 'node:fs';
import type { CommandBook } from '../../gen/daybook/v1/types.ts';
import type { Any } from '../../model/book.ts';
import { hex } from '../../model/stream.ts';
import { DOMAIN } from '../../model/validation.ts';
import { usage } from '../exit-codes.ts';
import { rootOf } from '../send.ts';

export interface Line {
  /** In the file, from 1. */
  number: number;
  domain: string;
  root: Uint8Array;
  /** For people. */
  rootText: string;
  /** The payloads of one command book. */
  parts: { type: string; json: string }[];
  correlationId: string;
}

const FIELDS = ['domain', 'root', 'type', 'payload', 'pages', 'correlation_id'];

export function readLines(file: string): Line[] {
  const texts = readFileSync(file, 'utf8').split('\n');
  const lines = texts.flatMap((text, i) => (text.trim() === '' ? [] : [readLine(text, `${file}:${i + 1}`, i + 1)]));
  if (lines.length === 0) throw usage(`${file}: expected commands, one JSON object a line, found none`);
  return lines;
}

function readLine(text: string, place: string, number: number): Line {
  const fault = (what: string) => usage(`${place}: ${what}`);
  let line: Record<string, unknown>;
  try {
    line = JSON.parse(text);
  } catch (thrown) {
    throw fault(`expected JSON: ${(thrown as Error).message}`);
  }
  for (const name of Object.keys(line)) if (!FIELDS.includes(name)) throw fault(`unknown key ${name}`);
  const { domain, root, correlation_id: correlationId = '' } = line;
  if (typeof domain !== 'string' || !DOMAIN.test(domain)) throw fault('domain: expected a domain as order');
  if (typeof root !== 'string' || root === '') throw fault('root: expected a UUID or a name');
  if (typeof correlationId !== 'string') throw fault('correlation_id: expected a text');
  const pages = line.pages ?? [{ type: line.type, payload: line.payload }];
  if (!Array.isArray(pages) || pages.length === 0) throw fault('pages: expected a list');
  const parts = pages.map(({ type, payload = {} }) => {
    if (typeof type !== 'string' || type === '') throw fault('type: expected the name of a command');
    return { type, json: JSON.stringify(payload) };
  });
  return { number, domain, root: rootOf(root), rootText: root, parts, correlationId };
}

export function commandOf(line: Line, key: string, encode: (type: string, json: string) => Any): CommandBook {
  const { domain, root, parts, correlationId } = line;
  return {
    cover: { domain, root: { value: root }, correlationId, tenant: '' },
    pages: parts.map(({ type, json }) => ({ sequence: undefined, command: encode(type, json) })),
    origin: undefined,
    idempotencyKey: key,
    metadata: {},
    workId: '',
  };
}

/** Lines of one aggregate, in order. */
export function byAggregate(lines: readonly Line[]): Line[][] {
  const groups = new Map<string, Line[]>();
  for (const line of lines) {
    const name = `${line.domain}/${hex(line.root)}`;
    groups.set(name, [...(groups.get(name) ?? []), line]);
  }
  return [...groups.values()];
}
