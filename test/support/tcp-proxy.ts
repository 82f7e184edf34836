// A network that misbehaves when it is told to: a proxy between a daemon and its database.

import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Random } from './random.ts';

export interface TcpProxy {
  readonly port: number;
  /** Every connection ends at once, in the middle of whatever passes. New ones are let through. */
  cut(): void;
  /** Each connection ends after some more bytes of the server's, so that answers are lost and not questions. */
  cutAnswers(random: Random): void;
  /** Nothing passes, and nobody is told, until `resume`. New connections are accepted and stand still, too. */
  stall(): void;
  resume(): void;
  /** One direction of every connection ends in order; the other goes on. */
  halfClose(from: 'client' | 'server'): void;
  close(): Promise<void>;
}

interface Pair {
  client: Socket;
  server: Socket;
  /** Bytes of the server's that still pass; Infinity: all. */
  answerBytes: number;
}

export async function openTcpProxy(target: { host: string; port: number }): Promise<TcpProxy> {
  const pairs = new Set<Pair>();
  let stalled = false;
  const listener = createServer({ allowHalfOpen: true }, (client) => {
    const server = connect({ ...target, allowHalfOpen: true });
    const pair: Pair = { client, server, answerBytes: Infinity };
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    pass(client, server, (bytes) => bytes);
    pass(server, client, (bytes) => {
      if (bytes.length < pair.answerBytes) {
        pair.answerBytes -= bytes.length;
        return bytes;
      }
      setImmediate(end);
      return bytes.subarray(0, pair.answerBytes);
    });
    for (const socket of [client, server]) {
      socket.on('error', end);
      socket.on('close', end);
      if (stalled) socket.pause();
    }
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as { port: number };
  const cut = () => {
    for (const { client, server } of [...pairs]) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
  };
  const flow = (stop: boolean) => {
    stalled = stop;
    for (const { client, server } of pairs)
      for (const socket of [client, server]) stop ? socket.pause() : socket.resume();
  };
  return {
    port,
    cut,
    cutAnswers(random) {
      for (const pair of pairs) pair.answerBytes = Math.floor(random() * 200);
    },
    stall: () => flow(true),
    resume: () => flow(false),
    halfClose(from) {
      for (const { client, server } of pairs) (from === 'client' ? server : client).end();
    },
    async close() {
      const closed = once(listener, 'close');
      listener.close();
      cut();
      await closed;
    },
  };

  /** Backpressure is left to the sockets' buffers: what passes here is small. */
  function pass(from: Socket, to: Socket, filter: (bytes: Buffer) => Buffer): void {
    from.on('data', (bytes) => {
      if (!to.writableEnded) to.write(filter(bytes));
    });
    from.on('end', () => {
      if (!to.writableEnded) to.end();
    });
  }
}
