// ComponentHost.Attach: the transport of attached components. What it means is in src/components/attachment.ts.

import type { ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { PROTOCOL_VERSION } from '../components/attachment.ts';
import type { Attached, ComponentRegistry } from '../components/registry.ts';
import type { Deadlines } from '../deadlines.ts';
import { invalid } from '../errors.ts';
import type { ComponentMessage, CoordinatorMessage, Hello, Welcome } from '../gen/daybook/v1/component.ts';
import type { LogIdentity } from '../store.ts';
import { type CallParts, writable } from './calls.ts';
import { Refused } from './definition.ts';
import { statusOf } from './status.ts';

export interface ComponentHostParts extends CallParts {
  components: ComponentRegistry;
  deadlines: Deadlines;
  logIdentity: LogIdentity;
  version: string;
  instance: string;
  limits: { messageBytes: number; eventsPerReply: number; eventBytesPerReply: number };
}

type AttachCall = ServerDuplexStream<ComponentMessage | Refused, CoordinatorMessage>;

const HELLO_WITHIN_MS = 30_000;

export function componentHostService(parts: ComponentHostParts): UntypedServiceImplementation {
  return { attach: (call: AttachCall) => serve(parts, call) };
}

function serve(parts: ComponentHostParts, call: AttachCall): void {
  let attached: Attached | undefined;
  let over = false;

  const end = () => {
    if (over) return;
    over = true;
    hello.cancel();
    attached?.close();
    if (attached === undefined) return;
    const { hello: introduction, lateReplies } = attached.attachment;
    parts.log.info({ ...about(introduction), late_replies: lateReplies }, 'component detached');
  };
  const refuse = (error: unknown) => {
    if (over) return;
    const status = statusOf(error, parts.log);
    parts.log.warn(
      { ...(attached && about(attached.attachment.hello)), reason: status.details },
      'attach stream refused',
    );
    end();
    call.emit('error', status);
  };
  const hello = parts.deadlines.add(parts.runtime.monotonicMs() + HELLO_WITHIN_MS, () =>
    refuse(invalid('hello', `hello: expected within ${HELLO_WITHIN_MS / 1000} s, found nothing`)),
  );

  call.on('data', (message: ComponentMessage | Refused) => {
    if (over) return;
    try {
      if (message instanceof Refused) {
        // Without the replies in it nothing that they answer can be found: the work ends by its deadline, or with the stream.
        if (attached === undefined || message.message === undefined) throw message.error;
        attached.outbox.notice('', message.error.reason, message.error.message);
        attached.receive(message.message as ComponentMessage);
      } else if (attached !== undefined) {
        attached.receive(message);
      } else {
        attached = greet(parts, call, message);
        hello.cancel();
      }
    } catch (error) {
      refuse(error);
    }
  });
  call.on('end', () => {
    end();
    call.end();
  });
  call.on('cancelled', end);
  call.on('error', end);
}

function greet(parts: ComponentHostParts, call: AttachCall, message: ComponentMessage): Attached {
  if (message.hello === undefined)
    throw invalid('hello', 'hello: expected as the first message of the stream, found another');
  const attached = parts.components.attach(message.hello, {
    send: (out) => call.write(out),
    writable: () => writable(call),
    end: () => call.end(),
  });
  call.write({
    welcome: welcome(parts),
    history: [],
    work: [],
    cancels: [],
    notices: [],
    drain: undefined,
  });
  parts.log.info(about(message.hello), 'component attached');
  // What came along with Hello counts as well.
  if (message.replies.length > 0 || message.drain !== undefined) attached.receive({ ...message, hello: undefined });
  return attached;
}

function welcome({ version, instance, logIdentity, limits }: ComponentHostParts): Welcome {
  return {
    protocolVersion: PROTOCOL_VERSION,
    version,
    instance,
    logId: logIdentity.logId,
    incarnation: logIdentity.incarnation,
    messageBytes: limits.messageBytes,
    eventsPerReply: limits.eventsPerReply,
    eventBytesPerReply: limits.eventBytesPerReply,
  };
}

function about(hello: Hello): Record<string, unknown> {
  return {
    component: hello.name,
    component_version: hello.version,
    component_instance: hello.instance,
    domains: hello.aggregates.map(({ domain }) => domain),
    reactors: [...hello.projectors, ...hello.sagas, ...hello.processManagers].map(({ name }) => name),
  };
}
