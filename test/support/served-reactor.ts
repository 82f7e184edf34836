// A projector, saga or process manager that is a gRPC server of its own, in this process: each call is seen, and answered as the test says.

import { Server, ServerCredentials, type ServerUnaryCall, type ServiceError } from '@grpc/grpc-js';
import { ProcessManagerDefinition, ProjectorDefinition, SagaDefinition } from '../../src/gen/daybook/v1/component.ts';
import { serviceDefinition } from '../../src/grpc/definition.ts';
import type { ReactorKind } from '../../src/model/reaction.ts';
import { RESPONSES } from './reactors.ts';

const DEFINITIONS = { projector: ProjectorDefinition, saga: SagaDefinition, process_manager: ProcessManagerDefinition };

type Call = ServerUnaryCall<unknown, unknown>;
type Answer = (error: Partial<ServiceError> | null, response?: unknown) => void;

export class ServedReactorServer {
  readonly calls: Call[] = [];
  /** Replaces the empty answer; a thrown error's code and details become the call's status. */
  handle: (call: Call) => unknown = () => RESPONSES[this.#kind];
  readonly #kind: ReactorKind;
  #server = new Server();
  #address = '127.0.0.1:0';

  constructor(kind: ReactorKind = 'saga') {
    this.#kind = kind;
  }

  get address(): string {
    return this.#address;
  }

  /** Where it was before, if it was. */
  async start(): Promise<void> {
    this.#server = new Server({ 'grpc.max_receive_message_length': 1 << 20 });
    this.#server.addService(serviceDefinition(DEFINITIONS[this.#kind]), {
      handle: async (call: Call, answer: Answer) => {
        this.calls.push(call);
        try {
          answer(null, await this.handle(call));
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
