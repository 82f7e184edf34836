// Commands that came to nothing, in the log of the daemon, with what was asked: for whoever develops a component, at level debug.

import type { Caller } from '../coordinators/caller.ts';
import type { Claim } from '../coordinators/claim.ts';
import { asDaybookError } from '../errors.ts';
import type { Any, CommandBook, CommandResponse } from '../model/book.ts';
import { uuidText } from '../model/stream.ts';
import type { Logger } from '../telemetry/log.ts';

export interface Executes {
  execute(command: CommandBook, caller: Caller, claim?: Claim): Promise<CommandResponse>;
}

interface Describes {
  describe(domain: string, payload: Any): Promise<string>;
}

/** The same; its rejections and its components' faults are told. At other levels this costs a comparison a command. */
export function tellFailures(business: Executes, payloads: Describes, log: Logger): Executes {
  return {
    execute(command, caller, claim) {
      const outcome = business.execute(command, caller, claim);
      if (log.level === 'debug' || log.level === 'trace') {
        outcome.catch((error: unknown) => tell(command, error, payloads, log).catch(() => {}));
      }
      return outcome;
    },
  };
}

async function tell(command: CommandBook, thrown: unknown, payloads: Describes, log: Logger): Promise<void> {
  const error = asDaybookError(thrown);
  if (error.reason !== 'REJECTED' && error.reason !== 'COMPONENT_FAULT') return;
  const { domain, root, correlationId } = command.cover!;
  const commands = await Promise.all(command.pages.map((page) => payloads.describe(domain, page.command!)));
  log.debug(
    {
      aggregate: `${domain}/${uuidText(root!.value)}`,
      correlation_id: correlationId,
      commands,
      code: error.rejection?.code,
      reason: error.message,
    },
    error.reason === 'REJECTED' ? 'command rejected' : 'the component failed with a command',
  );
}
