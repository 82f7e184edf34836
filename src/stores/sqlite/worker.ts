// A thread with one connection: the writer, which waits for the disk, or the reader, which therefore is another. It answers requests one
// by one, in the order in which they came. The folder is asked for nothing: it folds the log of changes into the file beside the writer.

import type { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { DaybookError } from '../../errors.ts';
import * as codec from './codec.ts';
import { fold, openFolder, openReader, openWriter } from './database.ts';
import { deliveryReads } from './delivery/reads.ts';
import { deliveryWrites } from './delivery/writes.ts';
import { readValue, writeValue } from './plain-value.ts';
import type { Fault, Operation, Reply, Request, WorkerSetup } from './protocol.ts';
import * as queries from './queries.ts';
import * as reader from './reader.ts';
import { TapeReader, TapeWriter } from './tape.ts';
import { CommitFailed, Writer } from './writer.ts';

const OPEN = { writer: openWriter, reader: openReader, folder: openFolder };
const FOLD_MS = 500;
/** In the log of changes; heartbeats alone write fewer. */
const MUCH_PAGES = 256;
const QUIET_FOLDS = 60;

const { path, role } = workerData as WorkerSetup;
const port = parentPort!;
let db: DatabaseSync | undefined;
let writer: Writer | undefined;
let folding: NodeJS.Timeout | undefined;
let quiet = 0;

port.on('message', (request: Request) => {
  const answer = new TapeWriter();
  try {
    perform(request.operation, new TapeReader(request.tape), answer);
  } catch (error) {
    port.postMessage({ id: request.id, fault: faultOf(error) } satisfies Reply);
    return;
  }
  const { tape, transfer } = answer.finish();
  port.postMessage({ id: request.id, tape } satisfies Reply, transfer);
});

function close(): void {
  clearInterval(folding);
  db?.close();
  port.close();
}

/** When there was little to fold for a while it goes, and is started again with the next commit. */
function foldOrEnd(db: DatabaseSync): void {
  quiet = fold(db) < MUCH_PAGES ? quiet + 1 : 0;
  if (quiet >= QUIET_FOLDS) close();
}

function perform(operation: Operation, ask: TapeReader, answer: TapeWriter): void {
  switch (operation) {
    case 'open':
      db = OPEN[role](path);
      if (role === 'writer') writer = new Writer(db);
      if (role === 'folder') folding = setInterval(foldOrEnd, FOLD_MS, db);
      return;
    case 'commit': {
      const units = codec.times(ask.number(), () => codec.readUnit(ask));
      for (const result of writer!.commit(units)) codec.writeResult(answer, result);
      return;
    }
    case 'expireOutcomes':
      answer.number(writer!.expireOutcomes(ask.number(), ask.number()));
      return;
    case 'forgetInstances':
      writer!.forgetInstances();
      return;
    case 'close':
      return close();
    default:
      if (operation in deliveryWrites) {
        const write = deliveryWrites[operation as keyof typeof deliveryWrites] as DeliveryCall;
        const asked = readValue(ask) as unknown[];
        writeValue(
          answer,
          writer!.perform((db) => write(db, ...asked)),
        );
        return;
      }
      atOneInstant(db!, () => read(db!, operation, ask, answer));
  }
}

/** The types of what is asked and answered are those of the store's contract. */
type DeliveryCall = (db: DatabaseSync, ...asked: unknown[]) => unknown;

function read(db: DatabaseSync, operation: Operation, ask: TapeReader, answer: TapeWriter): void {
  switch (operation) {
    case 'head': {
      const { logId, incarnation, position, unitId } = queries.findHead(db);
      answer.text(logId);
      answer.text(incarnation);
      answer.number(position);
      answer.bytes(unitId);
      return;
    }
    case 'openStream': {
      const opening = reader.openStream(db, codec.readStream(ask), codec.readOpenStream(ask));
      codec.writeEvents(answer, opening.pages);
      answer.number(opening.nextSequence);
      codec.writeOptional(answer, opening.snapshot, codec.writeSnapshot);
      answer.number(opening.snapshotNext);
      answer.number(opening.from);
      answer.number(opening.lastCreatedAt);
      codec.writeOptional(answer, opening.outcome, codec.writeStoredOutcome);
      return;
    }
    case 'readStream': {
      const { pages, nextSequence } = reader.readStream(db, codec.readStream(ask), codec.readStreamRange(ask));
      codec.writeEvents(answer, pages);
      answer.number(nextSequence);
      return;
    }
    case 'readSnapshot': {
      const snapshot = reader.readSnapshot(db, codec.readStream(ask), ask.number(), ask.number());
      codec.writeOptional(answer, snapshot, codec.writeSnapshot);
      return;
    }
    case 'readLog': {
      const { books, through } = reader.readLog(db, codec.readReadLog(ask));
      answer.number(books.length);
      for (const book of books) codec.writeBook(answer, book);
      answer.number(through);
      return;
    }
    case 'positionBefore':
      answer.number(reader.positionBefore(db, ask.number()));
      return;
    case 'listStreams': {
      const heads = queries.listStreams(db, codec.readListStreams(ask));
      answer.number(heads.length);
      for (const { stream, nextSequence } of heads) {
        codec.writeStream(answer, stream);
        answer.number(nextSequence);
      }
      return;
    }
    case 'listSnapshots': {
      const after = codec.readOptional(ask, codec.readSnapshotHead);
      const heads = queries.listSnapshots(db, after, ask.number());
      answer.number(heads.length);
      for (const head of heads) codec.writeSnapshotHead(answer, head);
      return;
    }
    case 'readOutcome':
      codec.writeOptional(answer, queries.findOutcome(db, codec.readOutcomeKey(ask)), codec.writeStoredOutcome);
      return;
    case 'listOutcomes': {
      const outcomes = queries.listOutcomes(db, codec.readListOutcomes(ask));
      answer.number(outcomes.length);
      for (const outcome of outcomes) codec.writeListedOutcome(answer, outcome);
      return;
    }
    default: {
      const delivery = deliveryReads[operation as keyof typeof deliveryReads] as DeliveryCall | undefined;
      if (delivery === undefined) throw new Error(`no such operation: ${operation}`);
      writeValue(answer, delivery(db, ...(readValue(ask) as unknown[])));
    }
  }
}

function atOneInstant(db: DatabaseSync, body: () => void): void {
  db.exec('BEGIN');
  try {
    body();
  } finally {
    if (db.isTransaction) db.exec('COMMIT');
  }
}

function faultOf(thrown: unknown): Fault {
  const committing = thrown instanceof CommitFailed;
  const error = (committing ? thrown.cause : thrown) as Error & { errcode?: number };
  return {
    message: error.message,
    stack: error.stack,
    sqliteCode: error.errcode,
    reason: error instanceof DaybookError ? error.reason : undefined,
    committing,
  };
}
