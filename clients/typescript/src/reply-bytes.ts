// How large a reply is, before it is sent.

import { Reply } from './gen/daybook/v1/component.ts';

/** Throws when it cannot be written at all. */
export function replyBytes(reply: Reply): number {
  // Decisions are many, and made of bytes already: about is good enough, and much cheaper than writing them twice.
  if (reply.result?.$case === 'command') return roughBytes(reply.result.value.result);
  // Projectors that write elsewhere return nothing, and are called often.
  if (reply.result?.$case === 'projector' && reply.result.value.projections.length === 0) return EMPTY_BYTES;
  return Reply.encode(reply).finish().length + FRAMING_BYTES;
}

function roughBytes(answer: Extract<Reply['result'], { $case: 'command' }>['value']['result']): number {
  if (answer?.$case === 'rejection') return 512 + 3 * answer.value.message.length;
  let bytes = 256 + (answer?.value.snapshot?.state?.value.length ?? 0);
  for (const page of answer?.value.pages ?? []) bytes += 32 + page.event!.typeUrl.length + page.event!.value.length;
  return bytes;
}

const FRAMING_BYTES = 16;
/** With its work id. */
const EMPTY_BYTES = 64;
