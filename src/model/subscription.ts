// What a subscription may say of itself, wherever it says it.

/** Parts of the log that are handled independently of each other. */
export const PARTITIONS = { fallback: 16, min: 1, max: 1024 };

/** Pages of one stream in one request to a projector. */
export const MAX_PAGES = { fallback: 100, min: 1, max: 1000 };
