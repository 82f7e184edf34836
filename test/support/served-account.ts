// A component that is a gRPC server of its own, in this process: each call is seen, and answered as the test says.

import { once } from 'node:events';
import { Server, ServerCredentials, type ServerUnaryCall, type ServiceError, type status } from '@grpc/grpc-js';
import {
  BusinessLogicDefinition,
  type BusinessResponse,
  type ContextualCommand,
} from '../../src/gen/daybook/v1/component.ts';
import { serviceDefinition } from '../../src/grpc/definition.ts';
import { balanceOf, decideAccount } from './account.ts';

export type HandleCall = ServerUnaryCall<ContextualCommand, BusinessResponse>;
type Answer = (error: Partial<ServiceError> | null, response?: BusinessResponse) => void;

export class ServedAccount {
  readonly requests: ContextualCommand[] = [];
  /** Replaces the account's own answer; a thrown `refusal` becomes the call's status. */
  handle: (request: ContextualCommand, call: HandleCall) => BusinessResponse | Promise<BusinessResponse> = decide;
  #server = new Server();
  #address = '127.0.0.1:0';

  get address(): string {
    return this.#address;
  }

  /** Where it was before, if it was. */
  async start(): Promise<void> {
    this.#server = new Server({ 'grpc.max_receive_message_length': -1 });
    this.#server.addService(serviceDefinition(BusinessLogicDefinition), {
      handle: async (call: HandleCall, answer: Answer) => {
        this.requests.push(call.request);
        try {
          answer(null, await this.handle(call.request, call));
        } catch (error) {
          answer(error as Partial<ServiceError>);
        }
      },
    });
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(this.#address, ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      );
    });
    this.#address = `127.0.0.1:${port}`;
  }

  stop(): void {
    this.#server.forceShutdown();
  }
}

export function decide({ events, command }: ContextualCommand): BusinessResponse {
  const decision = decideAccount(balanceOf(events!), command!);
  return decision.kind === 'events'
    ? { result: { $case: 'events', value: decision.book } }
    : { result: { $case: 'rejection', value: decision.rejection } };
}

export function refusal(code: status, details: string): Partial<ServiceError> {
  return { code, details };
}

/** Resolves when the caller of this call has gone away. */
export async function cancelled(call: HandleCall): Promise<void> {
  if (!call.cancelled) await once(call, 'cancelled');
}
