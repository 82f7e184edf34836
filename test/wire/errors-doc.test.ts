// docs/errors.md, errors.proto and the table of src/grpc/status.ts tell the same of every reason.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { DaybookError, type Reason } from '../../src/errors.ts';
import { ErrorReason } from '../../src/gen/daybook/v1/errors.ts';
import { statusOf } from '../../src/grpc/status.ts';
import type { Rejection } from '../../src/model/book.ts';
import { openLog } from '../../src/telemetry/log.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const quoted = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, word]) => word!);
const log = await openLog({ level: 'fatal', stream: { write: () => {} }, pretty: false });

/** The enum's values without prefix, each with its comment as one line. */
function fromProto(): Map<string, string> {
  const [, body] = /enum ErrorReason \{\n(.*?)^\}/ms.exec(read('proto/daybook/v1/errors.proto'))!;
  const reasons = new Map<string, string>();
  let comment = '';
  for (const line of body!.split('\n')) {
    const [, reason] = /^\s*ERROR_REASON_(\w+) = \d+;/.exec(line) ?? [];
    if (reason === undefined) comment += line.replace(/^\s*\/\/ ?/, ' ');
    else {
      if (reason !== 'UNSPECIFIED') reasons.set(reason, comment.trim());
      comment = '';
    }
  }
  return reasons;
}

/** The entries of the page, each with the three parts of its line and its text. */
function fromDocs() {
  const [, ...entries] = read('docs/errors.md').split(/^## /m);
  return new Map(
    entries.map((entry) => {
      const [reason] = entry.split('\n', 1);
      const [, codes, metadata, retry] = /^code: (.*) · metadata: (.*) · retry: (.*)$/m.exec(entry) ?? [];
      assert.ok(codes !== undefined, `${reason} has no line with code, metadata and retry`);
      return [reason!, { codes: quoted(codes), metadata: quoted(metadata!), retry: retry!, entry }];
    }),
  );
}

/** The gRPC codes that callers see. */
function realCodes(reason: Reason): string[] {
  const rejection = (kind: Rejection['kind']): Rejection => ({
    kind,
    code: '',
    message: '',
    details: undefined,
    page: 0,
  });
  const errors =
    reason === 'REJECTED'
      ? ([1, 2, 3, 4] as const).map((kind) => new DaybookError(reason, '', { rejection: rejection(kind) }))
      : [new DaybookError(reason, '')];
  return errors.map((error) => status[statusOf(error, log).code]!);
}

test('docs/errors.md has one entry for each reason of errors.proto, in its order', () => {
  const reasons = [...fromProto().keys()];
  assert.deepEqual([...fromDocs().keys()], reasons);
  assert.deepEqual(
    Object.keys(ErrorReason)
      .filter((name) => !['ERROR_REASON_UNSPECIFIED', 'UNRECOGNIZED'].includes(name))
      .map((name) => name.replace('ERROR_REASON_', '')),
    reasons,
  );
});

test('the table of src/grpc/status.ts has the same reasons', () => {
  const [, table] = /const CODES: .*? = \{\n(.*?)^\};/ms.exec(read('src/grpc/status.ts'))!;
  assert.deepEqual(
    [...table!.matchAll(/^ {2}([A-Z_]+):/gm)].map(([, reason]) => reason),
    [...fromProto().keys()],
  );
});

for (const [reason, comment] of fromProto()) {
  test(`${reason}: codes, metadata and retries are told alike`, () => {
    const told = fromDocs().get(reason);
    assert.ok(told !== undefined, `${reason} has no entry in docs/errors.md`);
    assert.deepEqual(told.codes, realCodes(reason as Reason), 'docs and src/grpc/status.ts');
    const [first] = comment.split('. ', 1);
    assert.deepEqual(
      first!.match(/[A-Z]+(_[A-Z]+)*(?![a-z])/g)!.filter((word) => word in status),
      told.codes,
      'docs and the comment in errors.proto',
    );
    const [, metadata] = /Metadata: (.*?)\.( |$)/.exec(comment) ?? [];
    assert.deepEqual(told.metadata, quoted(metadata ?? ''), 'metadata');
    assert.equal(told.retry === 'no', !/(Retry|Wait again)\b/.test(comment), `retry: ${told.retry}`);
    for (const who of ['Caller', 'Operator']) assert.match(told.entry, new RegExp(`^- ${who}: `, 'm'));
  });
}
