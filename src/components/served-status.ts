// What grpc-js says only in the text of a status. A server that was never reached and one whose connection broke with the call in hand
// both make it UNAVAILABLE, but only the second may have died of the call.
//
// Relied on, of grpc-js 1.14; test/components/served-reactors.test.ts kills servers to see that it still holds:
// - a connection that ends with a call in hand: UNAVAILABLE "Connection dropped", or Node's own `read ECONNRESET` and the like;
//   INTERNAL "Received RST_STREAM with code n triggered by internal client error" when the HTTP/2 session itself failed;
// - a server that goes in order but does not wait resets its streams: CANCELLED "Call cancelled". When we cancel, nobody asks;
// - no connection: UNAVAILABLE "No connection established…", "Name resolution failed…", "Stream refused by server";
// - a deadline that passes while there is none: the text lists the steps that were taken, and names no remote address.
//
// Anything else is the server's own answer. A proxy in between answers for the server that died: then it is plainly UNAVAILABLE.

import { type ServiceError, status } from '@grpc/grpc-js';

/** The server had it, and went. */
export function diedInHand({ code, details }: ServiceError): boolean {
  switch (code) {
    case status.UNAVAILABLE:
      return details === 'Connection dropped' || /^(read|write) E[A-Z]+$/.test(details);
    case status.CANCELLED:
      return details === 'Call cancelled';
    case status.INTERNAL:
      return /^Received RST_STREAM with code \d+ triggered by internal client error/.test(details);
    default:
      return false;
  }
}

/** The time passed before there was anybody to send it to. */
export function arrivedNever({ code, details }: ServiceError): boolean {
  return (
    code === status.DEADLINE_EXCEEDED && /^Deadline exceeded after /.test(details) && !/remote_addr=/.test(details)
  );
}

/** One of the two cannot take a message of this size, however often it is tried. */
export function isTooLarge({ code, details }: ServiceError): boolean {
  return code === status.RESOURCE_EXHAUSTED && /message larger than max/i.test(details);
}
