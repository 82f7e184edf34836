// Bugs that the simulation must find: each is a change to the daemon's source, made while it is loaded. A text that is not there any more
// means that the plant has to be looked at again.

import { registerHooks } from 'node:module';

export interface Plant {
  /** What is wrong with it, in a sentence. */
  about: string;
  changes: { file: string; from: string; to: string }[];
}

export const PLANTS: Readonly<Record<string, Plant>> = {
  'cursor-before-effect': {
    about: 'the cursor moves in a unit of its own, before the effect is stored',
    changes: [
      {
        file: 'delivery/progress.ts',
        from: '    if (moves) work.cursors.push({ partition, epoch, from: this.#position, to });\n    else {',
        to: '    if (moves) work.fences.push({ partition, epoch });\n    else {',
      },
      {
        file: 'delivery/progress.ts',
        from: '      if (!(await this.#committed(unit, effect))) return false;\n      taken();',
        to: `      const early = emptyWork();
      if (moves) early.cursors.push({ partition, epoch, from: this.#position, to });
      if (moves) await this.#owner.commit(this.#unitOf(early));
      if (moves) this.#position = to;
      if (!(await this.#committed(unit, effect))) return false;
      taken();`,
      },
    ],
  },
  'no-fencing': {
    about: 'the store does not compare epochs: a paused daemon writes after it lost its lease',
    changes: [
      { file: 'stores/work-rules.ts', from: 'if (cursor.epoch !== epoch) return', to: 'if (epoch < 0) return' },
    ],
  },
  'rejection-forgotten': {
    about: 'the outcome of a rejected command is not recorded under its key',
    changes: [
      {
        file: 'coordinators/business.ts',
        from: 'if (outcome === undefined && (claim === undefined || !rejection)) return [];',
        to: 'if (rejection || outcome === undefined) return [];',
      },
    ],
  },
  'parked-overtaken': {
    about: 'the tail goes on with a key that is parked',
    changes: [
      {
        file: 'delivery/parking.ts',
        from: '    if (position >= entry.tailFrom) return false;\n    entry.offered = position;\n    return true;',
        to: '    return position <= entry.row.position;',
      },
      {
        file: 'delivery/parking.ts',
        from: "    return state !== undefined && state !== 'draining';\n  }\n\n  /** The event, which",
        to: '    return false && state !== undefined;\n  }\n\n  /** The event, which',
      },
    ],
  },
  'published-before-commit': {
    about: 'positions are handed on before they are committed, as they are expected to be',
    changes: [
      {
        file: 'coordinators/committer.ts',
        from: '        return await this.#store.commit(units);',
        to: `        const head = await this.#store.head();
        let position = head.position + 1;
        const sequences = (unit) => unit.appends.map(({ expect }) => expect.nextSequence ?? 0);
        const early = [];
        for (const unit of units) {
          if (unit.appends.length === 0) continue;
          early.push(...withBooks(unit, { kind: 'committed', position, sequences: sequences(unit) }).books);
          for (const { pages } of unit.appends) position += pages.length;
        }
        if (early.length > 0) this.#onBooks(early.map((book) => ({ ...book, pages: book.pages.map((page) => ({ ...page })) })));
        return await this.#store.commit(units);`,
      },
    ],
  },
  'timer-twice': {
    about: 'a timer that fired is removed only after what it led to is stored',
    changes: [
      {
        file: 'coordinators/process-manager.ts',
        from: '      return { timers: [{ key: { tenant, subscription, process, name }, version, row: undefined }] };',
        to: '      return version < 0 ? { timers: [{ key: { tenant, subscription, process, name }, version, row: undefined }] } : {};',
      },
      {
        file: 'delivery/timers.ts',
        from: '      await this.#partition.trigger(row.process, occasion, (error) => this.#failed(row, error));',
        to: `      await this.#partition.trigger(row.process, occasion, (error) => this.#failed(row, error));
      const late = emptyWork();
      late.fences.push({ partition: this.#partition.key, epoch: this.#partition.epoch });
      late.timers.push({ key: row, version: row.version, row: undefined });
      const nothing = { appends: [], expectations: [], snapshots: [], outcomes: [] };
      await this.#partition.commit({ unitId: this.#parts.runtime.uuid(), ...nothing, work: late });`,
      },
    ],
  },
  'cache-kept-after-conflict': {
    about: 'the cached history stays after a conflict showed that it is old',
    changes: [{ file: 'coordinators/until-committed.ts', from: '    histories.forget(text);\n', to: '' }],
  },
  'rejection-not-told': {
    about: 'the output goes when its command is rejected, and nobody is told',
    changes: [
      {
        file: 'delivery/outputs.ts',
        from: '      if (notification !== undefined) work.outboxAdded.push(notification);\n',
        to: '      void notification;\n',
      },
    ],
  },
  'done-forgotten': {
    about: 'what is finished out of order is not marked as done',
    changes: [
      {
        file: 'delivery/progress.ts',
        from: '      for (const { position } of items.flatMap(({ pages }) => pages)) work.done.push({ partition, position });\n    }\n    const { appends',
        to: '    }\n    const { appends',
      },
    ],
  },
  'not-drained': {
    about: 'a key is given back to the tail at once, without saying through where the retry lane has come',
    changes: [
      {
        file: 'delivery/parking.ts',
        from: '        return { ...unit, work: { ...unit.work!, fences: [], cursors } };',
        to: `        const parked = unit.work.parked.map((change) => ({ ...change, row: undefined }));
        return { ...unit, work: { ...unit.work, fences: [], cursors, parked } };`,
      },
    ],
  },
  'effect-repeated': {
    about:
      'what the next generation went on with is handled once more by the one that it replaces, when that is replayed',
    changes: [
      {
        file: 'delivery/parking.ts',
        from: 'const done = page.position <= Math.max(entry.row.through, before?.through ?? 0);',
        to: 'const done = false;',
      },
    ],
  },
  'process-by-stream': {
    about: 'a process manager handles events in the order of their streams, not of its process',
    changes: [
      {
        file: 'model/ordering.ts',
        from: "  if (kind === 'process_manager') return 'correlation';",
        to: "  if (kind === 'process_manager') return 'stream';",
      },
      {
        file: 'coordinators/process-manager.ts',
        from: '    const process = processOf(reactor, place.key);\n    const fired = firedOf(occasion);',
        to: `    const cover = occasion.kind === 'events' ? occasion.book.cover : undefined;
    if (cover !== undefined) place = { ...place, key: cover.tenant + '/' + cover.correlationId };
    const process = processOf(reactor, place.key);
    const fired = firedOf(occasion);`,
      },
    ],
  },
};

export function plant({ changes }: Plant): void {
  const wanted = new Map<string, Plant['changes']>();
  for (const change of changes) wanted.set(change.file, [...(wanted.get(change.file) ?? []), change]);
  registerHooks({
    load(url, context, next) {
      const loaded = next(url, context);
      const at = url.indexOf('/src/');
      const own = at < 0 ? undefined : wanted.get(url.slice(at + '/src/'.length));
      if (own === undefined || loaded.source === undefined || loaded.source === null) return loaded;
      let source = loaded.source.toString();
      for (const { file, from, to } of own) {
        if (source.split(from).length !== 2) throw new Error(`${file}: expected once, found otherwise: ${from}`);
        source = source.replace(from, () => to);
      }
      return { ...loaded, source };
    },
  });
}
