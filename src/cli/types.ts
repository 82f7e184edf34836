// The descriptors that a daemon knows, for showing and writing payloads.

import { status } from '@grpc/grpc-js';
import { PayloadsDefinition } from '../gen/daybook/v1/payloads.ts';
import type { PayloadTypes } from '../payloads/payload-types.ts';
import { CallFailed, call } from './connect.ts';
import { EXIT } from './exit-codes.ts';
import { complain, plainText } from './output.ts';

/** `undefined` when there are none. Events can be shown without, so only a daemon that is not there is an error. */
export async function fetchTypes(address: string): Promise<PayloadTypes | undefined> {
  try {
    const { fileDescriptorSet } = await call(address, PayloadsDefinition, 'getDescriptors', {});
    if (fileDescriptorSet.length === 0) return undefined;
    const { PayloadTypes } = await import('../payloads/payload-types.ts');
    const types = new PayloadTypes([{ source: `the daemon at ${address}`, bytes: fileDescriptorSet }]);
    for (const complaint of types.complaints) complain(plainText(complaint));
    return types;
  } catch (thrown) {
    if (!(thrown instanceof CallFailed) || thrown.code === EXIT.unreachable) throw thrown;
    // A daemon of an earlier version has none.
    if (thrown.status !== status.UNIMPLEMENTED) complain(`payloads are shown by type and size: ${thrown.message}`);
    return undefined;
  }
}
