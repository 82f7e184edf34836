// How the log is read: in pieces of which size, and from what distance on a reader takes its time. One place, because a simulation,
// whose logs are short, gives smaller sizes.

export interface Reading {
  /** Of one read of the log. */
  readEvents: number;
  /** Of one read of what follows a parked event of its key. */
  keyEvents: number;
  /** Books kept in memory, at least, so that a new follower need not read what has just been committed. */
  recentBooks: number;
  /** Of books that wait for one follower; then it reads from the store. */
  followerBytes: number;
  /** Closer to the log's end than this, a reader does not rest any more; and to the end of what it may offer, what is handled is stored when somebody waits. */
  nearEvents: number;
  /** What a reader that is far behind offers before it rests. */
  slice: { min: number; max: number };
  /** So many requests of a subscription may be in hand at once in any case; more when that helps. */
  fewRequests: number;
  /** Closer to the old generation's end than this, the new one tries to take over. */
  closeEvents: number;
}

export const READING: Reading = {
  readEvents: 2000,
  keyEvents: 200,
  recentBooks: 1024,
  followerBytes: 1 << 20,
  nearEvents: 1000,
  slice: { min: 20, max: 1024 },
  fewRequests: 96,
  closeEvents: 1000,
};
