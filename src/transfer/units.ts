// From lines to whole units.

import { DaybookError } from '../errors.ts';
import { sameBytes, streamText, uuidText } from '../model/stream.ts';
import { type ExportedEvent, readEventLine } from './event-line.ts';
import { type Line, linesOf } from './lines.ts';
import { Unreadable } from './unreadable.ts';

export interface ReadUnit {
  unitId: Uint8Array;
  /** In the order of the file. At least one. */
  events: ReadEvent[];
  /** As texts. */
  streams: Set<string>;
}

export interface ReadEvent extends ExportedEvent {
  line: number;
}

/** What keeps a file from being imported, as a sentence. Units before it are not concerned. */
export class CannotImport extends Error {
  override readonly name = 'CannotImport';
}

/** Of the lines of one unit, lest memory grow with a wrong file. */
const UNIT_BYTES_MAX = 64 * 1024 * 1024;

/** Throws CannotImport at the first line that is wrong, and at a unit that is not whole. */
export async function* unitsOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<ReadUnit> {
  let unit: ReadUnit | undefined;
  let bytes = 0;
  try {
    for await (const line of linesOf(chunks)) {
      const event = { ...readLine(line), line: line.number };
      if (unit !== undefined && !sameBytes(unit.unitId, event.page.unitId)) {
        throw new CannotImport(`line ${line.number}: another unit begins here, and ${missing(unit)}`);
      }
      unit ??= { unitId: event.page.unitId, events: [], streams: new Set() };
      checkNext(unit, event);
      unit.events.push(event);
      bytes += line.text.length;
      if (bytes > UNIT_BYTES_MAX)
        throw new CannotImport(`line ${line.number}: a unit has at most ${UNIT_BYTES_MAX} bytes`);
      if (unit.events.length < event.unitEvents) continue;
      yield unit;
      unit = undefined;
      bytes = 0;
    }
  } catch (error) {
    throw error instanceof Unreadable ? new CannotImport(error.message) : error;
  }
  if (unit !== undefined) throw new CannotImport(`the file ends in the middle of a unit: ${missing(unit)}`);
}

function readLine({ number, text, whole }: Line): ExportedEvent {
  try {
    return readEventLine(text);
  } catch (error) {
    if (!(error instanceof Unreadable || error instanceof DaybookError)) throw error;
    if (!whole) throw new CannotImport(`line ${number}: the file ends in the middle of it`);
    throw new CannotImport(`line ${number}: ${error.message}`);
  }
}

/** A unit appends to each of its streams once: consecutive events, of one correlation. */
function checkNext(unit: ReadUnit, event: ReadEvent): void {
  const { line, stream, page } = event;
  const differs = (what: string, expected: unknown, found: unknown) => {
    return new CannotImport(`line ${line}: ${what}: expected ${expected}, found ${found}`);
  };
  const last = unit.events.at(-1);
  const text = streamText(stream);
  const known = unit.streams.has(text);
  unit.streams.add(text);
  if (last === undefined) return;
  if (event.unitEvents !== last.unitEvents) throw differs('unitevents', last.unitEvents, event.unitEvents);
  if (streamText(last.stream) === text) {
    if (page.sequence !== last.page.sequence + 1) throw differs('sequence', last.page.sequence + 1, page.sequence);
    if (event.correlationId !== last.correlationId) {
      throw differs('correlationid', last.correlationId, event.correlationId);
    }
  } else if (known) {
    throw differs('unit', 'the events of one stream together', `more of ${text} behind those of another`);
  }
}

function missing({ unitId, events }: ReadUnit): string {
  const { line, unitEvents } = events[0]!;
  return `unit ${uuidText(unitId)} from line ${line} on should have ${unitEvents} events and has ${events.length}`;
}
