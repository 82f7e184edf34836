// Bytes that no client sends, to every RPC. `npm run fuzz` sends more of them.

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Bystander, FUZZED_LIMITS } from '../fuzz/bystander.ts';
import { fuzz } from '../fuzz/fuzzing.ts';
import { SUBJECTS } from '../fuzz/requests.ts';
import { type TestDaemon, testDaemon } from '../support/daemon.ts';

const MESSAGES = 2000;

const seed = Number(process.env.FUZZ_SEED ?? randomInt(2 ** 31));
let daemon: TestDaemon;
let bystander: Bystander;

before(async () => {
  daemon = await testDaemon({ env: FUZZED_LIMITS });
  bystander = await Bystander.on(daemon.address);
});

after(async () => {
  await bystander[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

for (const subject of SUBJECTS) {
  const name = `${subject[0]}/${subject[1].name}`;
  test(`${name}: ${MESSAGES} messages`, async (t) => {
    const counts = await fuzz(daemon.address, subject, { messages: MESSAGES, seed });
    t.diagnostic(`seed ${seed}: ${JSON.stringify(counts)}`);
    await bystander.untouched(name);
    const defects = daemon.logLines.filter((line) => line.includes('internal error'));
    assert.deepEqual(defects, []);
  });
}
