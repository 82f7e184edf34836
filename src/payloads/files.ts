// The descriptor files that the configuration names.

import { readFileSync } from 'node:fs';
import { faultOf } from './descriptor-sets.ts';

export interface DescriptorFile {
  path: string;
  bytes: Uint8Array;
}

/** Throws a sentence that names the key and the file when one cannot be used. */
export async function readDescriptorFiles(paths: readonly string[]): Promise<DescriptorFile[]> {
  const files: DescriptorFile[] = [];
  for (const [i, path] of paths.entries()) {
    const fail = (why: string): never => {
      throw new Error(`descriptors[${i}]: ${path} cannot be used: ${why}`);
    };
    let bytes: Uint8Array;
    try {
      bytes = readFileSync(path);
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      return fail(code === 'ENOENT' ? 'it does not exist' : (code ?? (thrown as Error).message));
    }
    const fault = faultOf(bytes);
    if (fault !== undefined) fail(fault);
    const { checkSet } = await import('./merge.ts');
    try {
      checkSet(bytes);
    } catch (thrown) {
      fail((thrown as Error).message);
    }
    files.push({ path, bytes });
  }
  return files;
}
