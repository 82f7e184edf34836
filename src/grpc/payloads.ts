import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import type { GetDescriptorsRequest, GetDescriptorsResponse } from '../gen/daybook/v1/payloads.ts';
import { type CallParts, unary } from './calls.ts';

export interface PayloadsParts extends CallParts {
  payloads: { descriptors(): Promise<Uint8Array> };
}

export function payloadsService(parts: PayloadsParts): UntypedServiceImplementation {
  return {
    getDescriptors: unary<GetDescriptorsRequest, GetDescriptorsResponse>(parts, async () => ({
      fileDescriptorSet: await parts.payloads.descriptors(),
    })),
  };
}
