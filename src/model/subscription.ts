// What a subscription may say of itself, wherever it says it.

/** Parts of the log that are handled independently of each other. */
export const PARTITIONS = { fallback: 16, min: 1, max: 1024 };

/** Pages of one stream in one request to a projector. */
export const MAX_PAGES = { fallback: 100, min: 1, max: 1000 };

/** What a subscription's row counts as its version: so often the generation that its component declared, plus the version of its filter. */
const VERSIONS = 1_000_000;

/** Of a filter. */
export const FILTER_VERSION = { min: 1, max: VERSIONS - 1 };

export function rowVersion({ generation, version }: { generation: number; version: number }): number {
  return generation * VERSIONS + version;
}

/** The generation that the component declared for this row. Generations in the store count an operator's rebuilds too. */
export function declaredGeneration({ version }: { version: number }): number {
  return Math.floor(version / VERSIONS);
}

export function filterVersion({ version }: { version: number }): number {
  return version % VERSIONS;
}

/** What is declared takes the place of what is known of the same generation in the store. */
export function isNewer(declared: { version: number }, known: { version: number }): boolean {
  return declared.version > known.version && declaredGeneration(declared) === declaredGeneration(known);
}
