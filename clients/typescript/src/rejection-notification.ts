// How a saga's aggregate, and a process manager, hear that a command was rejected.

import {
  type CommandBook,
  RejectionNotification as Message,
  Rejection as RejectionMessage,
} from './gen/daybook/v1/types.ts';
import type { MessageType } from './payload.ts';

/** Which command was rejected, why, and the event that had caused it. */
export interface RejectionNotification extends Message {
  command: CommandBook;
  rejection: RejectionMessage;
}

/**
 * The command that an aggregate gets when another aggregate rejected what a saga had asked of it because of an event of this
 * one. Handle it in `decide` like a command of your own:
 *
 *     case RejectionNotification.$type: {
 *       const { rejection, command } = unpack(RejectionNotification, payload);
 *
 * An aggregate that does not handle it, or rejects it, leaves a dead letter.
 */
export const RejectionNotification: MessageType<RejectionNotification> = {
  $type: 'daybook.v1.RejectionNotification',
  encode: (message) => Message.encode(message),
  decode: (bytes) => completeNotification(Message.decode(bytes)),
};

export function completeNotification(message: Message): RejectionNotification {
  const { command, rejection } = message;
  if (command === undefined) throw new TypeError('the notification names no command');
  return { ...message, command, rejection: rejection ?? RejectionMessage.create() };
}
