// Who projects and reacts: every projector, saga and process manager that was hosted since the start, attached or served.

import { isDeepStrictEqual } from 'node:util';
import type { Reactor, ReactorDeclaration } from '../component.ts';
import { invalid } from '../errors.ts';
import type { AttachedReactor } from './attached-reactor.ts';
import { HELLO_FIELDS, otherKind, spoken } from './declarations.ts';
import { type Host, ReactorPool } from './reactor-pool.ts';

/** A reactor of the configuration; it comes and goes by itself. */
export interface StandingReactor extends Reactor {
  /** Called when it became available or not. */
  onChanged(listener: () => void): void;
}

export class Reactors {
  readonly #pools = new Map<string, ReactorPool>();
  readonly #served: ReadonlyMap<string, StandingReactor>;
  readonly #listeners: (() => void)[] = [];
  #telling = false;

  constructor(served: readonly StandingReactor[]) {
    this.#served = new Map(served.map((reactor) => [keyOf(reactor.declaration), reactor]));
    for (const reactor of served) reactor.onChanged(this.changed);
  }

  all(): Reactor[] {
    return [...this.#served.values(), ...this.#pools.values()];
  }

  /** Of those who are there now. */
  hosted(): ReactorDeclaration[] {
    const pools = [...this.#pools.values()].filter((pool) => pool.hosted);
    return [...this.#served.values(), ...pools].map(({ declaration }) => declaration);
  }

  onChanged(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Listeners are told soon, and once of what happens together: they may do what changes something again. */
  readonly changed = (): void => {
    if (this.#telling) return;
    this.#telling = true;
    queueMicrotask(() => {
      this.#telling = false;
      for (const listener of this.#listeners) listener();
    });
  };

  /** INVALID_ARGUMENT when it contradicts what others declare. */
  check(declaration: ReactorDeclaration): void {
    const { kind, name } = declaration;
    for (const { declaration: known } of this.all()) {
      if (known.name === name && known.kind !== kind) throw otherKind(kind, name, known.kind);
    }
    const key = keyOf(declaration);
    if (this.#served.has(key)) {
      throw invalid(
        `${HELLO_FIELDS[kind]}.name`,
        `${name}: the configuration names a served ${spoken(kind)} of this name, generation and version`,
      );
    }
    const pool = this.#pools.get(key);
    if (pool?.hosted) checkSame(declaration, pool.declaration);
  }

  /** After `check`. */
  add(host: Host, reactor: AttachedReactor): void {
    const key = keyOf(reactor.declaration);
    let pool = this.#pools.get(key);
    // As long as nobody hosts it, it may be declared otherwise.
    if (pool === undefined || (!pool.hosted && !isDeepStrictEqual(pool.declaration, reactor.declaration))) {
      pool = new ReactorPool(reactor.declaration, this.changed);
      this.#pools.set(key, pool);
    }
    pool.add(host, reactor);
  }

  remove(host: Host, reactor: AttachedReactor): void {
    this.#pools.get(keyOf(reactor.declaration))?.remove(host);
  }
}

function keyOf({ kind, name, generation, version }: ReactorDeclaration): string {
  return `${kind} ${name} ${generation} ${version}`;
}

/** Two hosts of one pool must mean the same: whichever is asked, the outcome counts for both. */
function checkSame(declared: ReactorDeclaration, known: ReactorDeclaration): void {
  const { kind, name, generation, version } = declared;
  const about = `${spoken(kind)} ${name}, generation ${generation}, version ${version}`;
  const anew = kind === 'projector' ? 'raise generation' : 'give it another name';
  const differs = (part: string, found: unknown, expected: unknown, remedy: string) => {
    const field = `${HELLO_FIELDS[kind]}.${part}`;
    const sentence = `${field}: ${about} is declared with ${text(expected)} already, found ${text(found)}; ${remedy}`;
    return invalid(field, sentence);
  };
  for (const part of ['domains', 'types'] as const) {
    if (!sameSet(declared[part], known[part])) {
      throw differs(`filter.${part}`, declared[part], known[part], 'raise version with each change of the filter');
    }
  }
  for (const part of ['ordered', 'partitions', 'domain'] as const) {
    if (declared[part] !== known[part]) throw differs(part, declared[part], known[part], anew);
  }
  if (declared.snapshotSchemaVersion !== known.snapshotSchemaVersion) {
    const [found, expected] = [declared.snapshotSchemaVersion, known.snapshotSchemaVersion];
    throw differs('snapshot_schema_version', found, expected, 'raise version');
  }
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((entry) => b.includes(entry));
}

function text(value: unknown): string {
  if (!Array.isArray(value)) return String(value);
  if (value.length === 0) return 'all';
  return value.length <= 5 ? value.join(', ') : `${value.slice(0, 5).join(', ')} and ${value.length - 5} more`;
}
