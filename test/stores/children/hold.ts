// Opens the database named by the first argument, commits one event, says so, and stays.
import { openSqlite } from '../../../src/stores/sqlite/index.ts';
import { ANY, freshStream, writing } from '../../support/store-units.ts';

try {
  const store = await openSqlite({ path: process.argv[2]! });
  await store.commit([writing(freshStream(), ANY)]);
  console.log('open');
  setInterval(() => {}, 1000);
} catch (error) {
  console.log((error as Error).message);
}
