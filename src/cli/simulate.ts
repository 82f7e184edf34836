// `daybook simulate`: a user's components, driven through duplicates, crashes, delays and failures of the store by a daemon in this process.

import type { CommandBook } from '../gen/daybook/v1/types.ts';
import { sleep, systemRuntime } from '../runtime.ts';
import { EXIT, Exit, usage } from './exit-codes.ts';
import { print } from './output.ts';
import { encodePayload } from './send.ts';
import { checkDeadLetters, checkDecision, checkEffects, checkProjections } from './simulate/checks.ts';
import { commandOf, type Line, readLines } from './simulate/commands.ts';
import { type Schedule, type Sent, scheduleOf } from './simulate/schedule.ts';
import { type Answer, World } from './simulate/world.ts';
import { fetchTypes } from './types.ts';

export interface SimulateOptions {
  component: string[];
  commands: string;
  seed?: number;
  seeds: number;
  jsonPayload?: boolean;
  verbose?: boolean;
}

/** For the components to say what they host. */
const ATTACH_MS = 20_000;

export async function simulate(options: SimulateOptions): Promise<void> {
  const { component: components, commands, seed, seeds } = options;
  if (components.length === 0) throw usage('expected --component, the command that starts a component');
  const lines = readLines(commands);
  const first = seed ?? 1;
  const count = seed === undefined ? seeds : 1;
  let failed = 0;
  for (let each = first; each < first + count; each++) {
    const { told, broken } = await runSeed(each, lines, options);
    await print(`seed ${each}: ${told}: ${broken.length === 0 ? 'nothing is broken' : `${broken.length} broken`}`);
    for (const sentence of new Set(broken)) await print(`  ${sentence}`);
    if (broken.length > 0) failed++;
  }
  if (failed > 0) {
    throw new Exit(EXIT.fault, `${failed} of ${count} seeds broke something; --seed runs one of them again`);
  }
}

interface Done {
  sent: Sent;
  command: CommandBook;
  answer: Answer;
}

async function runSeed(seed: number, lines: readonly Line[], options: SimulateOptions) {
  const schedule = scheduleOf(seed, lines, options.component.length);
  const { component: components, verbose = false, jsonPayload = false } = options;
  await using world = await World.open(seed, schedule, { components, verbose });
  const encode = await encoder(world, lines, jsonPayload);
  const broken = (what: string) => void world.broken.push(what);
  const done = await sendAll(world, schedule, encode);
  await world.settle();
  for (const { sent, command, answer } of done) {
    const about = `line ${sent.line.number}, ${sent.line.domain}/${sent.line.rootText}`;
    if (sent.again) {
      const again = await world.execute(command);
      if (again.text !== answer.text) broken(`${about}: answered "${answer.text}" at first, then "${again.text}"`);
    }
    await checkDecision(world, about, command, answer, broken);
  }
  await checkDeadLetters(world.store, broken);
  await checkEffects(world.store, broken);
  await checkProjections(world.address, world.store, broken);
  const { position } = await world.store.head();
  const blows = schedule.blows.map(({ blow }) => blow).join(', ') || 'nothing killed';
  const told = `${done.length} commands, ${position} events, ${blows}, ${world.failures} failures of the store`;
  return { told, broken: world.broken };
}

/** Aggregates beside each other, the commands of one in order; after so many answers something is killed. */
async function sendAll(world: World, { lanes, blows }: Schedule, encode: Encode): Promise<Done[]> {
  const done: Done[] = [];
  const left = [...blows];
  let falling = Promise.resolve();
  const fall = () => {
    while (left[0] !== undefined && left[0].after <= done.length) {
      const { blow, component } = left.shift()!;
      falling = falling.then(() => world.blow(blow, component));
    }
  };
  fall();
  await Promise.all(
    lanes.map(async (lane) => {
      for (const sent of lane) {
        const command = commandOf(sent.line, sent.key, encode);
        const answers = await Promise.all(Array.from({ length: sent.copies }, () => world.execute(command)));
        const [answer] = answers as [Answer, ...Answer[]];
        if (answers.some(({ text }) => text !== answer.text)) {
          world.broken.push(`line ${sent.line.number}: sent twice at once, it was answered differently`);
        }
        done.push({ sent, command, answer });
        fall();
      }
    }),
  );
  await falling;
  return done;
}

type Encode = Parameters<typeof commandOf>[2];

/** Waits until the components are there, and with them what is known of the payloads. */
async function encoder(world: World, lines: readonly Line[], jsonPayload: boolean): Promise<Encode> {
  const runtime = systemRuntime();
  const [{ parts }] = lines as [Line, ...Line[]];
  const untilMs = runtime.monotonicMs() + ATTACH_MS;
  for (;;) {
    world.checkComponents();
    const types = jsonPayload ? undefined : await fetchTypes(world.address);
    const encode: Encode = (type, json) => encodePayload(types, type, json, jsonPayload);
    try {
      if ((await world.store.listSubscriptions()).length > 0 || jsonPayload || types !== undefined) {
        encode(parts[0]!.type, parts[0]!.json);
        return encode;
      }
    } catch (thrown) {
      if (runtime.monotonicMs() > untilMs) throw thrown;
    }
    if (runtime.monotonicMs() > untilMs)
      throw new Exit(EXIT.fault, 'no component attached: it finds the daemon at $DAYBOOK_ADDRESS');
    await sleep(runtime, 100);
  }
}
