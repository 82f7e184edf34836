// Part of `npm run gen`: what server reflection tells, as protoc reads it, with imports and comments. An argument names another folder.

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

process.chdir(resolve(import.meta.dirname, '..'));
const INPUTS = ['proto', 'node_modules/grpc-health-check/proto'];

const sets = INPUTS.map((input) =>
  execFileSync('node_modules/.bin/buf', ['build', input, '--as-file-descriptor-set', '--output', '-#format=binpb']),
);
// Sets one after the other are one set: a rule of Protobuf.
writeFileSync(join(process.argv[2] ?? 'src/gen', 'descriptors.binpb'), Buffer.concat(sets));
