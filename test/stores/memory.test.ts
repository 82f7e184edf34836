import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openMemory } from '../../src/stores/memory.ts';
import { deliveryContract } from '../contract/delivery-contract.ts';
import { storeContract } from '../contract/store-contract.ts';
import { ANY, freshStream, writing } from '../support/store-units.ts';

const identity = {
  logId: '00000000-0000-7000-8000-000000000001',
  incarnation: '00000000-0000-7000-8000-000000000002',
};

storeContract('memory', async () => openMemory(identity), { runs: 300 });
deliveryContract('memory', async (clock) => openMemory(identity, clock));

test('memory: a commit takes effect when it is called, so that a simulation decides what comes before what', async () => {
  const store = openMemory(identity);
  const commit = store.commit([writing(freshStream(), ANY)]);
  assert.equal((await store.head()).position, 1);
  await commit;
});

test('memory: closing by one of several daemons leaves the log to the others', async () => {
  const store = openMemory(identity);
  await store.commit([writing(freshStream(), ANY)]);
  await store.close();
  assert.equal((await store.head()).position, 1);
});
