import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Concurrency } from '../../src/model/concurrency.ts';

const FEW = 32;

/** What is wanted begins as far as it may; until the next look so many are answered, by how many are in hand. */
class Trial {
  readonly #requests = new Concurrency(FEW);
  #nowMs = 0;
  #watched = false;

  look(answers: (inHand: number) => number, wanted: number): boolean {
    this.#begin(wanted);
    for (let left = answers(this.#requests.inHand); left > 0; left--) {
      this.#requests.ended(1);
      this.#begin(wanted);
    }
    this.#nowMs += 100;
    if (this.#watched) this.#watched = this.#requests.look(this.#nowMs);
    return this.#watched;
  }

  #begin(wanted: number): void {
    const requests = this.#requests;
    while (requests.inHand < wanted && requests.open) requests.began();
    if (requests.inHand === wanted || this.#watched) return;
    requests.watch(this.#nowMs);
    this.#watched = true;
  }

  /** How many are in hand at the end of each look. */
  looks(count: number, answers: (inHand: number) => number, wanted = 4096): number[] {
    return Array.from({ length: count }, () => {
      this.look(answers, wanted);
      return this.#requests.inHand;
    });
  }
}

/** One after the other, whatever waits. */
const computes = () => 500;
/** Each takes 20 ms of 100, beside any number of others. */
const waits = (inHand: number) => 5 * inHand;

describe('requests under way', () => {
  test('are few while more do not bring more, and are doubled for a moment ever more seldom', () => {
    const found = new Trial().looks(1000, computes);
    assert(found.every((count) => count === FEW || count === 2 * FEW));
    const trials = found.flatMap((count, i) => (count > FEW && found[i - 1] === FEW ? [i] : []));
    assert(trials.length > 5 && trials.length < 20, `${trials.length} trials`);
    assert(trials.at(-1)! - trials.at(-2)! > 100);
  });

  test('are doubled as long as that helps', () => {
    const found = new Trial().looks(60, waits, 1000);
    assert.equal(found.at(-1), 1000);
    assert.deepEqual([...new Set(found)], [32, 64, 128, 256, 512, 1000]);
  });

  test('are as many as help, when that is some', () => {
    const pool = (inHand: number) => 5 * Math.min(inHand, 100);
    const found = new Trial().looks(1000, pool);
    assert(found.filter((count) => count === 64 || count === 128).length > 900);
  });

  test('become few again when fewer do as well', () => {
    const trial = new Trial();
    trial.looks(60, waits, 1000);
    const found = trial.looks(600, computes);
    assert.equal(found.at(-1), FEW);
  });

  test('are doubled at every look while hardly any is answered', () => {
    const trial = new Trial();
    assert.deepEqual(
      trial.looks(5, () => 0, 500),
      [32, 64, 128, 256, 500],
    );
  });

  test('stay few when nobody wants more', () => {
    const trial = new Trial();
    assert.equal(trial.look(computes, 10), false);
    assert.deepEqual([...new Set(trial.looks(100, waits, 10))], [10]);
    assert.deepEqual(trial.looks(2, waits, 1000), [FEW, 2 * FEW]);
  });
});
