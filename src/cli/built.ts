#!/usr/bin/env -S node --max-semi-space-size=32
// `daybook` as it is shipped. What V8 compiled is kept beside the code, where only those may write who may change the code, too; nothing is
// kept where nobody may write. With less room for young objects commands wait longer beside a rebuild; with more the daemon is larger.

import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

enableCompileCache(join(import.meta.dirname, '../.compile-cache'));
await import('./daybook.ts');
