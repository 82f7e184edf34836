// Commits to the database named by the first argument until it fails, and says how: run under a limit on file sizes.
import { DaybookError } from '../../../src/errors.ts';
import { openSqlite } from '../../../src/stores/sqlite/index.ts';
import { ANY, freshStream, page, writing } from '../../support/store-units.ts';

const store = await openSqlite({ path: process.argv[2]! });
let committed = 0;
try {
  for (; committed < 10_000; committed++) {
    await store.commit([writing(freshStream(), ANY, [page({ value: new Uint8Array(10_000) })])]);
  }
} catch (error) {
  const reason = error instanceof DaybookError ? error.reason : String(error);
  const { position } = await store.head();
  console.log(JSON.stringify({ reason, committed, position }));
}
await store.close();
