// Commits to the database named by the first argument, one unit after the other, until somebody ends it. Says each position.
import { openPostgres } from '../../../src/stores/postgres/index.ts';
import { ANY, freshStream, writing } from '../../support/store-units.ts';

const store = await openPostgres({ connectionString: process.argv[2]! });
const stream = freshStream();
for (;;) {
  const results = await store.commit(Array.from({ length: 20 }, () => writing(stream, ANY, 3)));
  console.log(results.at(-1)!.kind === 'committed' ? 'committed' : 'failed');
}
