#!/usr/bin/env -S node --max-semi-space-size=16
// `daybook` as it is shipped. What V8 compiled is kept beside the code, where only those may write who may change the code, too; nothing is
// kept where nobody may write. More room for young objects than this made the daemon larger, and no faster.

import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

enableCompileCache(join(import.meta.dirname, '../.compile-cache'));
await import('./daybook.ts');
