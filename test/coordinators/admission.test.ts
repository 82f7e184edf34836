import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Admission, type AdmissionJob } from '../../src/coordinators/admission.ts';
import { DaybookError } from '../../src/errors.ts';
import { manualRuntime, settle } from '../support/clock.ts';

const LIMITS = { perRootCommands: 1000, executingCommands: 10_000, executingBytes: 1 << 26 };

/** Commands under way, done in the order in which they came. */
class Door {
  readonly runtime = manualRuntime();
  readonly admission = new Admission(LIMITS, this.runtime);
  readonly #underWay: (() => void)[] = [];
  #roots = 0;

  get underWay(): number {
    return this.#underWay.length;
  }

  /** What it is refused with, if it is. */
  async come(patienceMs: number, parts: Partial<AdmissionJob> = {}): Promise<string | undefined> {
    const { signal } = new AbortController();
    const deadlineMs = this.runtime.monotonicMs() + patienceMs;
    const job = { domain: 'account', bytes: 1, reserved: false, deadlineMs, signal, ...parts };
    let refused: string | undefined;
    const execute = () => new Promise<void>((resolve) => this.#underWay.push(resolve));
    this.admission.run(String(++this.#roots), job, execute).catch((error) => {
      refused = error instanceof DaybookError ? `${error.reason} ${error.metadata.limit}` : 'a defect';
    });
    await settle();
    return refused;
  }

  async done(count: number): Promise<void> {
    for (const resolve of this.#underWay.splice(0, count)) resolve();
    await settle();
  }
}

describe('more comes than can be done', () => {
  /** 400 are done in a second, and twice as many come. */
  async function storm(door: Door, patienceMs: number): Promise<Set<string | undefined>> {
    const refusals = new Set<string | undefined>();
    for (let i = 0; i < 100; i++) {
      for (let n = 0; n < 20; n++) refusals.add(await door.come(patienceMs));
      await door.done(10);
      await door.runtime.advance(25);
    }
    return refusals;
  }

  test('whoever would be answered too late is refused at once, and the others are answered in time', async () => {
    const door = new Door();
    assert.deepEqual(await storm(door, 2000), new Set([undefined, 'OVERLOADED deadline']));
    // Half of the two seconds, at 400 in a second, and the commands of one look.
    assert(door.underWay <= 400 + 20, `${door.underWay} under way`);
  });

  test('who has time waits, up to the limits', async () => {
    const door = new Door();
    assert.deepEqual(await storm(door, Infinity), new Set([undefined]));
  });

  test('one domain that is slow does not close the door of another; what is under way already comes in', async () => {
    const door = new Door();
    await storm(door, 2000);
    let refused: string | undefined;
    for (let i = 0; i < 50; i++) refused ??= await door.come(2000);
    assert.equal(refused, 'OVERLOADED deadline');
    assert.equal(await door.come(2000, { domain: 'order' }), undefined);
    assert.equal(await door.come(2000, { reserved: true }), undefined);
  });

  test('it opens again as soon as it is quiet', async () => {
    const door = new Door();
    await storm(door, 2000);
    await door.done(Infinity);
    assert.equal(await door.come(1), undefined);
  });
});
