#!/usr/bin/env node
// The command line. Each command is a file of its own and is loaded only when it is asked for.

import { Command, CommanderError, Option } from 'commander';
import { ConfigError } from '../config.ts';
import { VERSION } from '../version.ts';
import { repeatable, wholeNumber } from './arguments.ts';
import { EXIT, Exit } from './exit-codes.ts';
import { complain, endWithReader } from './output.ts';

const CONFIG = [
  '--config <file>',
  'the configuration (else $DAYBOOK_CONFIG, else ./daybook.yaml if there is one)',
] as const;
const ADDRESS = [
  '--address <target>',
  'the daemon: host:port or unix:/path (else what the configuration says)',
] as const;
const TENANT = ['--tenant <tenant>', 'another tenant than the default one'] as const;
const RAW = ['--raw', 'do not decode payloads'] as const;
const JSON_LINES = ['--json', 'one JSON object a line'] as const;
const POSITION_MAX = Number.MAX_SAFE_INTEGER;
const UINT32_MAX = 0xffffffff;

const program = new Command('daybook')
  .description('An event-sourcing daemon that runs beside your service and does everything but the decisions.')
  .version(VERSION)
  .exitOverride()
  .addHelpText(
    'after',
    `
Exit codes:
  0    done; for start: stopped after a signal
  1    the configuration, the log or the daemon says no; the first fault is on stderr (verify: on stdout)
  2    the command line was not understood
  3    no daemon answers
  4    the domain rejected the command (send)
  130  interrupted; 143 terminated: also start after a second signal`,
  );

program
  .command('start')
  .description('run the daemon until SIGTERM or SIGINT; prints one line of JSON when it is ready')
  .option(...CONFIG)
  .option('--ready-file <file>', 'also write the ready line to this file, and remove it at the end')
  .action(async (options) => (await import('./start.ts')).start(options));

program
  .command('check')
  .description('print the configuration as it would take effect, or say what is wrong with it')
  .option(...CONFIG)
  .option('--json', 'as one JSON object instead of YAML')
  .action(async (options) => (await import('./check.ts')).check(options));

program
  .command('events')
  .description('print the events of one aggregate')
  .argument('<domain/root>', 'as order/018f3c1e-…; the root as a UUID or 32 hexadecimal digits')
  .option(...CONFIG)
  .option(...ADDRESS)
  .option('--from <sequence>', 'the first sequence', wholeNumber('--from', 0, UINT32_MAX))
  .option('--to <sequence>', 'the last sequence, included', wholeNumber('--to', 0, UINT32_MAX))
  .option('--as-of <sequence|time>', 'the history as it was after this sequence or at this time (2026-01-31T12:00:00Z)')
  .option(...TENANT)
  .option(...RAW)
  .option(...JSON_LINES)
  .action(async (aggregate, options) => (await import('./events.ts')).events(aggregate, options));

program
  .command('tail')
  .description('print the log in commit order from its beginning, and follow it')
  .option(...CONFIG)
  .option(...ADDRESS)
  .option('--from-position <n>', 'begin here', wholeNumber('--from-position', 1, POSITION_MAX))
  .option('--new', 'begin with what is recorded from now on')
  .option('--domain <domain>', 'only this domain; may be repeated', repeatable('--domain'))
  .option('--type <name>', 'only commits with this event type (its full name); may be repeated', repeatable('--type'))
  .option('--correlation-id <id>', 'only this conversation')
  .option(...TENANT)
  .option('--all-tenants', 'every tenant')
  .option('--limit <n>', 'end after so many commits', wholeNumber('--limit', 1, UINT32_MAX))
  .option('--no-follow', "end at the log's end")
  .option(...RAW)
  .option(...JSON_LINES)
  .action(async (options) => (await import('./tail.ts')).tail(options));

program
  .command('send')
  .description('send one command, written as JSON, and print what was decided')
  .argument('<domain>', 'as order')
  .argument('<type>', 'the type of the command: its full name, or the end of it if that is unique')
  .argument('[json]', 'its content; - reads it from standard input', '{}')
  .option(...CONFIG)
  .option(...ADDRESS)
  .option('--root <root>', 'the aggregate: a UUID, or any name, which is hashed (without: a new aggregate)')
  .option('--sequence <n>', 'refuse it unless this is the next sequence', wholeNumber('--sequence', 0, UINT32_MAX))
  .option('--key <key>', 'the idempotency key (without: a new one)')
  .option('--correlation-id <id>', 'the conversation that it belongs to (without: a new one)')
  .addOption(
    new Option('--sync <mode>', 'wait for nothing more, for the projectors, or for all that follows')
      .choices(['none', 'simple', 'cascade'])
      .default('none'),
  )
  .option('--json-payload', 'send the JSON itself, as a daybook.v1.Json of this type')
  .option('--dry-run', 'only tell what would be decided')
  .option('--as-of <sequence|time>', 'with --dry-run: decide against the history as it was then')
  .option(...TENANT)
  .option('--json', 'the outcome as one JSON object')
  .action(async (domain, type, json, options) => (await import('./send.ts')).send(domain, type, json, options));

program
  .command('explain')
  .description('print what led to what in one conversation: commands, rejections and events')
  .argument('<correlation id>', 'as send tells it, and tail in its column CORRELATION')
  .option(...CONFIG)
  .option(...ADDRESS)
  .option('--limit <n>', 'of events, and of rejections', wholeNumber('--limit', 1, UINT32_MAX), 10_000)
  .option(...TENANT)
  .option('--json', 'as one JSON object')
  .action(async (correlationId, options) => (await import('./explain.ts')).explain(correlationId, options));

program
  .command('subscriptions')
  .description('print how far projectors, sagas and process managers are, and what holds them up')
  .argument('[names...]', 'only these')
  .option(...CONFIG)
  .option(...ADDRESS)
  .option(...JSON_LINES)
  .action(async (names, options) => (await import('./subscriptions.ts')).subscriptions(names, options));

program
  .command('pause')
  .description('stop a subscription after what it has in hand, on all daemons of the log, until it is resumed')
  .argument('<subscription>', 'the name of a projector, saga or process manager')
  .option(...CONFIG)
  .option(...ADDRESS)
  .action(async (name, options) => (await import('./subscriptions.ts')).pause(name, options));

program
  .command('resume')
  .description('let a paused subscription go on')
  .argument('<subscription>', 'its name')
  .option(...CONFIG)
  .option(...ADDRESS)
  .action(async (name, options) => (await import('./subscriptions.ts')).resume(name, options));

program
  .command('rebuild')
  .description('build a projector anew beside the running one, and switch over when it has caught up')
  .argument('<projector>', 'its name')
  .option(...CONFIG)
  .option(...ADDRESS)
  .option('--from <place>', 'where to begin: beginning, now, a position, or a time (2026-01-31T12:00:00Z)', 'beginning')
  .option(...JSON_LINES)
  .action(async (projector, options) => (await import('./rebuild.ts')).rebuild(projector, options));

const parked = program
  .command('parked')
  .description('what could not be delivered: list it, show it, try it again (replay) or give it up (discard)');

parked
  .command('list')
  .description('print the keys and outputs that are held up')
  .option(...CONFIG)
  .option(...ADDRESS)
  .option('--subscription <name>', 'only of this projector, saga or process manager')
  .addOption(new Option('--state <state>', 'only in this state').choices(['retrying', 'dead', 'draining']))
  .option('--tenant <tenant>', "only of this tenant; '' is the default one (without: of all)")
  .option('--limit <n>', 'so many at most', wholeNumber('--limit', 1, UINT32_MAX), 1000)
  .option(...JSON_LINES)
  .action(async (options) => (await import('./parked.ts')).list(options));

parked
  .command('show')
  .description('print one with the event or the command that failed')
  .argument('<id>', 'from the last column of the list')
  .option(...CONFIG)
  .option(...ADDRESS)
  .option(...RAW)
  .option('--json', 'as one JSON object')
  .action(async (id, options) => (await import('./parked.ts')).show(id, options));

parked
  .command('replay')
  .description('try it again now, from the event that failed, in order')
  .argument('[id]', 'from the last column of the list')
  .option(...CONFIG)
  .option(...ADDRESS)
  .option('--all <subscription>', 'everything of this projector, saga or process manager')
  .option('--force', 'also what the receiver may have forgotten that it did: it may then happen twice')
  .option('--json', 'how many, as one JSON object')
  .action(async (id, options) => (await import('./parked.ts')).replay(id, options));

parked
  .command('discard')
  .description('give up the event or the command that failed, for good, and go on after it')
  .argument('<id>', 'from the last column of the list')
  .requiredOption('--reason <text>', 'why: it is kept in the log of the daemon')
  .option(...CONFIG)
  .option(...ADDRESS)
  .action(async (id, options) => (await import('./parked.ts')).discard(id, options));

program
  .command('doctor')
  .description('say what is wrong with the configuration, the store and the machine')
  .option(...CONFIG)
  .option('--json', 'the findings as one JSON object')
  .action(async (options) => (await import('./doctor.ts')).doctor(options));

program
  .command('simulate')
  .description('drive your components through duplicates, crashes, delays and failures, and say what they break')
  .requiredOption(
    '--component <command>',
    'starts a component, which attaches to $DAYBOOK_ADDRESS, also written {address}; may be repeated',
    repeatable('--component'),
  )
  .requiredOption('--commands <file>', 'what is sent: JSON lines with domain, root, type and payload')
  .option('--seed <n>', 'only this seed', wholeNumber('--seed', 0, UINT32_MAX))
  .option('--seeds <n>', 'so many seeds, from 1', wholeNumber('--seeds', 1, UINT32_MAX), 10)
  .option('--json-payload', 'payloads are daybook.v1.Json')
  .option('--verbose', "show the daemon's log")
  .action(async (options) => (await import('./simulate.ts')).simulate(options));

program
  .command('verify')
  .description('read the whole configured log, also beside a running daemon, and say whether it keeps its promises')
  .option(...CONFIG)
  .option('--json', 'the result as one JSON object')
  .action(async (options) => (await import('./verify.ts')).verify(options));

program
  .command('migrate')
  .description('bring the configured PostgreSQL database up to date, as the daemon does when it starts')
  .option(...CONFIG)
  .option('--dry-run', 'say what would be applied and change nothing')
  .action(async (options) => (await import('./migrate.ts')).migrate(options));

program
  .command('export')
  .description(
    'write the events of the configured log as CloudEvents, one JSON object a line, also beside a running daemon',
  )
  .argument('[file]', 'where to (else stdout)')
  .option(...CONFIG)
  .option('--from-position <n>', 'begin here', wholeNumber('--from-position', 1, POSITION_MAX))
  .option('--tenant <tenant>', "only this tenant; '' is the default one")
  .option('--domain <domain>', 'only this domain; may be repeated', repeatable('--domain'))
  .option('--json', 'the result as one JSON object (on stderr when the events are on stdout)')
  .action(async (file, options) => (await import('./export.ts')).exportEvents(file, options));

program
  .command('import')
  .description(
    'store events that were exported in the configured log; again, or to go on, changes nothing that is there',
  )
  .argument('[file]', 'where from (else stdin)')
  .option(...CONFIG)
  .option('--dry-run', 'say what would happen and store nothing')
  .option('--json', 'the result as one JSON object')
  .action(async (file, options) => (await import('./import.ts')).importEvents(file, options));

// A daemon outlives whoever read its ready line.
program.hook('preAction', (_, command) => {
  if (command.name() !== 'start') endWithReader();
});

try {
  await program.parseAsync();
} catch (thrown) {
  process.exitCode = exitCode(thrown);
}

function exitCode(thrown: unknown): number {
  // Commander has said it already.
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : EXIT.usage;
  if (!(thrown instanceof Exit || thrown instanceof ConfigError)) throw thrown;
  complain(thrown.message);
  return thrown instanceof Exit ? thrown.code : EXIT.fault;
}
