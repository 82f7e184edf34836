// Those who send commands: they give up waiting, repeat what has a key, and write down everything that they were told.

import { asDaybookError, type DaybookError } from '../../src/errors.ts';
import type { CommandResponse } from '../../src/model/book.ts';
import { streamText } from '../../src/model/stream.ts';
import { toMicros } from '../../src/model/time.ts';
import { type Random, whole } from '../../src/simulation/random.ts';
import { domainOf } from './aggregates.ts';
import type { Daemon } from './daemon.ts';
import { commandBook, coverOf, type Data, eventBook, eventPage, rootOf } from './payloads.ts';
import { type PlannedCommand, PROJECTOR } from './plan.ts';
import { correlationOf } from './reactions.ts';
import type { Simulation } from './simulation.ts';

export interface Answer {
  kind: 'events' | 'rejected';
  attempt: number;
  duplicate: boolean;
  /** Of events. */
  first: number;
  count: number;
  position: number;
  units: string[];
  createdAtMicros: number[];
  settled: boolean;
  /** Of rejections. */
  code: string;
  at: number;
  balance: number;
}

export interface Told {
  planned: PlannedCommand;
  domain: string;
  stream: string;
  /** The length of the stream when it was first sent; of each attempt when it was sent. */
  sentAt: number[];
  /** The same when each attempt was answered. */
  answeredAt: number[];
  answers: Answer[];
  /** What it came to: `unknown` when nobody repeats it, `conflict` when the expected sequence was another one. */
  end: 'open' | 'answered' | 'unknown' | 'failed' | 'conflict';
}

const PATIENCE_MS = 4000;
const WAIT_MS = 1500;

export class Clients {
  readonly told: Told[] = [];
  readonly #simulation: Simulation;
  readonly #random: Random;
  #open = 0;

  constructor(simulation: Simulation, random: Random) {
    this.#simulation = simulation;
    this.#random = random;
  }

  /** Nobody waits for anything. */
  get idle(): boolean {
    return this.#open === 0;
  }

  plan(planned: PlannedCommand): void {
    this.#open++;
    this.#simulation.time.after(planned.atMs, () => this.#begin(planned));
  }

  #begin(planned: PlannedCommand): void {
    const domain = domainOf(planned.type);
    const stream = streamText({ tenant: '', domain, root: rootOf(planned.root) });
    const told: Told = { planned, domain, stream, sentAt: [], answeredAt: [], answers: [], end: 'open' };
    this.told.push(told);
    const explicit = planned.explicit && planned.type !== 'Record' ? this.#simulation.lengthOf(stream) : undefined;
    const sending = new Sending(this.#simulation, this.#random, told, explicit, () => this.#over(told, explicit));
    sending.send(planned.daemon);
    if (planned.twice) sending.send(planned.daemon + 1);
  }

  #over(told: Told, explicit: number | undefined): void {
    const { againMs } = told.planned;
    this.#open--;
    if (againMs === 0 || told.end !== 'answered') return;
    this.#open++;
    this.#simulation.time.after(againMs, () => {
      const sending = new Sending(this.#simulation, this.#random, told, explicit, () => {
        this.#open--;
      });
      sending.send(whole(this.#random, 0, 9));
    });
  }
}

/** One command, as often as it has to be sent. */
class Sending {
  readonly #simulation: Simulation;
  readonly #random: Random;
  readonly #told: Told;
  readonly #explicit: number | undefined;
  readonly #over: () => void;
  #ended = false;
  #lost: number;
  #failures = 0;

  constructor(simulation: Simulation, random: Random, told: Told, explicit: number | undefined, over: () => void) {
    this.#simulation = simulation;
    this.#random = random;
    this.#told = told;
    this.#explicit = explicit;
    this.#over = over;
    this.#lost = told.planned.lost;
  }

  get #repeats(): boolean {
    const { keyed, type } = this.#told.planned;
    return keyed || type === 'Record';
  }

  send(where: number): void {
    const { time, daemons, store } = this.#simulation;
    // Nobody waits for a projector that was never there.
    const declared = store.activeGeneration(PROJECTOR).then((generation) => generation > 0);
    const daemon = daemons[where % daemons.length]!;
    const told = this.#told;
    const attempt = told.sentAt.push(this.#simulation.lengthOf(told.stream)) - 1;
    const about = `client: ${told.planned.id} ${told.planned.type} ${told.stream}`;
    this.#simulation.note(about, `→ ${daemon.name}`);
    let heard = false;
    const hear = (how: () => void) => {
      if (heard) return;
      heard = true;
      how();
    };
    const patience = time.after(told.planned.mode === 'none' ? PATIENCE_MS : PATIENCE_MS + WAIT_MS, () =>
      hear(() => this.#failed('no answer', true)),
    );
    const reached = daemon.process;
    reached.after(this.#random() * 2, () => {
      const { engine } = daemon;
      if (engine === undefined || daemon.process !== reached) {
        time.after(this.#random(), () => hear(() => this.#failed('nobody is there', false)));
        return;
      }
      const back = (how: () => void) => reached.after(this.#random() * 2, how);
      this.#call(daemon).then(
        (response) =>
          back(() => {
            patience.cancel();
            const answer = eventsOf(response, attempt);
            this.#simulation.note(about, `← events ${answer.first}+${answer.count}${answer.duplicate ? ' again' : ''}`);
            if (this.#isLost()) return hear(() => this.#failed('the answer is lost', true));
            this.#answered(answer, attempt);
            this.#check(response, declared);
          }),
        (thrown) =>
          back(() => {
            patience.cancel();
            const error = asDaybookError(thrown);
            this.#simulation.note(about, `← ${error.reason}: ${error.message}`);
            if (error.reason === 'INTERNAL') {
              this.#simulation.broken(
                `${about} was answered INTERNAL: ${(error.cause as Error)?.stack ?? error.message}`,
              );
            }
            if (this.#isLost()) return hear(() => this.#failed('the answer is lost', true));
            if (error.reason === 'REJECTED') return this.#answered(rejectionOf(error, attempt), attempt);
            hear(() => this.#refused(error));
          }),
      );
    });
  }

  #call({ engine }: Daemon): Promise<CommandResponse> {
    const { planned, domain } = this.#told;
    const { type, id, root, other, amount, mode, keyed } = planned;
    const correlationId = type === 'Place' || type === 'Pay' ? correlationOf(root) : `c${id}`;
    const cover = coverOf(domain, root, correlationId);
    const caller = { deadlineMs: Infinity, signal: new AbortController().signal };
    const data: Data = { id, amount };
    if (type === 'Transfer') data.to = other;
    if (type === 'Place') data.item = other;
    if (type === 'Record') {
      const origin = { ...NO_FACT_ORIGIN, externalSource: 'world', externalId: String(id) };
      const facts = eventBook(cover, [eventPage('Recorded', data, origin)]);
      return engine!.facts.record(facts, false, caller);
    }
    const book = commandBook(cover, type, data);
    if (keyed) book.idempotencyKey = `k${id}`;
    book.pages[0]!.sequence = this.#explicit;
    return mode === 'none' ? engine!.business.execute(book, caller) : engine!.sync.execute(book, mode, WAIT_MS, caller);
  }

  #isLost(): boolean {
    return this.#lost-- > 0;
  }

  #answered(answer: Answer, attempt: number): void {
    const told = this.#told;
    told.answers.push(answer);
    told.answeredAt[attempt] = this.#simulation.lengthOf(told.stream);
    this.#end('answered');
  }

  #refused(error: DaybookError): void {
    if (error.reason === 'SEQUENCE_CONFLICT') return this.#end('conflict');
    this.#failed(error.reason, error.reason === 'OUTCOME_UNKNOWN');
  }

  /** `perhaps`: it may have been done all the same. */
  #failed(why: string, perhaps: boolean): void {
    if (this.#ended) return;
    if (perhaps) this.#told.end = 'unknown';
    if (!this.#repeats) return this.#end(perhaps ? 'unknown' : 'failed');
    this.#simulation.note('client', `${this.#told.planned.id} tries again: ${why}`);
    const delayMs = 50 * 2 ** Math.min(5, ++this.#failures) * (0.5 + this.#random());
    this.#simulation.time.after(delayMs, () => {
      if (!this.#ended) this.send(whole(this.#random, 0, 9));
    });
  }

  #end(how: Told['end']): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#told.end !== 'answered') this.#told.end = how;
    this.#over();
  }

  /** What `settled` says is so now. */
  #check(response: CommandResponse, declared: Promise<boolean>): void {
    const { mode, type } = this.#told.planned;
    const { store, plan } = this.#simulation;
    if (mode === 'none' || type === 'Record' || !response.settled || response.reactionErrors.length > 0) return;
    const last = response.events!.pages.at(-1);
    if (last === undefined) return;
    const { stream } = this.#told;
    if (this.#told.domain === 'account') {
      void (async () => {
        if (!(await declared)) return;
        const generation = await store.activeGeneration(PROJECTOR);
        const key = Buffer.from(response.events!.cover!.root!.value).toString('hex');
        const row = await store.readProjection({ tenant: '', projector: PROJECTOR, generation, key });
        if (row === undefined || row.sequence < last.sequence) {
          this.#simulation.broken(`${stream} is settled at ${last.sequence}, its projection is at ${row?.sequence}`);
        }
      })();
    }
    if (mode === 'cascade' && plan.workload !== 'orders') {
      void (async () => {
        const { correlationId } = response.events!.cover!;
        const rows = await store.listOutbox({ correlation: { tenant: '', correlationId }, limit: 10 });
        if (rows.length > 0) {
          this.#simulation.broken(`${correlationId} is settled with ${rows.length} outputs that wait`);
        }
      })();
    }
  }
}

const NO_FACT_ORIGIN = {
  component: '',
  source: undefined,
  sourceSequence: 0,
  sourcePosition: 0,
  logId: '',
  index: 0,
  depth: 0,
  commands: [],
};

function eventsOf(response: CommandResponse, attempt: number): Answer {
  const { pages, nextSequence } = response.events!;
  return {
    ...NOTHING,
    kind: 'events',
    attempt,
    duplicate: response.duplicate,
    first: pages[0]?.sequence ?? nextSequence,
    count: pages.length,
    position: response.position,
    units: pages.map((page) => Buffer.from(page.unitId).toString('hex')),
    createdAtMicros: pages.map((page) => toMicros(page.createdAt!)),
    settled: response.settled,
  };
}

function rejectionOf(error: DaybookError, attempt: number): Answer {
  const { code, message } = error.rejection!;
  const { at, balance } = JSON.parse(message);
  return { ...NOTHING, kind: 'rejected', attempt, duplicate: error.metadata.duplicate === 'true', code, at, balance };
}

const NOTHING: Answer = {
  kind: 'events',
  attempt: 0,
  duplicate: false,
  first: 0,
  count: 0,
  position: 0,
  units: [],
  createdAtMicros: [],
  settled: false,
  code: '',
  at: 0,
  balance: 0,
};
