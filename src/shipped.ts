/** A file that is read at run time, by its path in this folder. A build keeps these paths, and this file's place, but no other. */
export function shipped(path: string): URL {
  return new URL(path, import.meta.url);
}

/** The ending of files of code: they are run as they are written, or built. */
export const CODE = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
