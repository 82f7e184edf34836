// How many requests to one component are worth having under way. One that computes is kept busy by a few; more of them only wait there, and
// what belongs to them grows old in memory here, which makes every collection of garbage longer. One that waits for others itself can
// use many. Nobody knows which it is, so it is tried out while more want to begin: twice as many, and half as many.

/** Twice as many have to bring so much; half as many may cost so much. */
const GAIN = 1.3;
const LOSS = 0.9;
/** Looks from one trial to the next: more after each that did not help. */
const REST_MIN = 8;
const REST_MAX = 128;

export class Concurrency {
  /** It is never less. */
  readonly #few: number;
  #limit: number;
  /** In its place, for as long as it takes to tell whether it is better. */
  #tried: number | undefined;
  /** Twice as many are tried next; else half. */
  #more = true;
  /** Events in a millisecond, under the limit. */
  #rate = 0;
  #rest = REST_MIN;
  #resting = 1;
  #inHand = 0;
  #sinceMs = 0;
  /** Since then. */
  #answers = 0;
  #events = 0;
  #refused = false;
  /** Answers to come before everything that is in hand has begun under the limit as it is now. */
  #unsettled = 0;

  constructor(few: number) {
    this.#few = few;
    this.#limit = few;
  }

  get inHand(): number {
    return this.#inHand;
  }

  /** One more may begin. False: somebody wants to, and it is to be watched. */
  get open(): boolean {
    if (this.#inHand < this.#now) return true;
    this.#refused = true;
    return false;
  }

  began(): void {
    this.#inHand++;
  }

  /** It was about so many events. */
  ended(events: number): void {
    this.#inHand--;
    this.#answers++;
    this.#events += events;
  }

  /** Somebody was refused: from now on `look` is called at intervals. */
  watch(nowMs: number): void {
    this.#begin(nowMs);
    this.#refused = true;
  }

  /** May change how many may be under way. False: it need not be watched any more, until somebody is refused. */
  look(nowMs: number): boolean {
    const [answers, rate, refused] = [this.#answers, this.#events / (nowMs - this.#sinceMs), this.#refused];
    this.#begin(nowMs);
    const settled = this.#unsettled <= 0;
    this.#unsettled -= answers;
    // So slow that it hardly costs anything, and perhaps all of these hang: the others need not.
    if (refused && answers < this.#few) this.#keep(2 * this.#now);
    else if (settled && (refused || this.#tried !== undefined)) this.#judge(rate);
    return refused || this.#tried !== undefined;
  }

  #begin(nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#answers = 0;
    this.#events = 0;
    this.#refused = false;
  }

  get #now(): number {
    return this.#tried ?? this.#limit;
  }

  #judge(rate: number): void {
    if (this.#tried === undefined) {
      this.#rate = rate;
      if (--this.#resting <= 0) this.#try();
    } else if (rate > this.#rate * (this.#more ? GAIN : LOSS)) {
      this.#keep(this.#tried);
    } else {
      this.#unsettled = this.#tried;
      this.#tried = undefined;
      this.#more = !this.#more;
      this.#rest = Math.min(2 * this.#rest, REST_MAX);
      this.#resting = this.#rest;
    }
  }

  #try(): void {
    if (this.#limit === this.#few) this.#more = true;
    this.#unsettled = this.#limit;
    this.#tried = this.#more ? 2 * this.#limit : Math.max(this.#few, this.#limit >>> 1);
  }

  /** The same again is tried soon. */
  #keep(limit: number): void {
    this.#unsettled = this.#now;
    this.#limit = limit;
    this.#tried = undefined;
    this.#rest = REST_MIN;
    this.#resting = 1;
  }
}
