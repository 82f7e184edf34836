// A store that holds everything but some units, whatever it is that it cannot hold of them.

import { DaybookError } from '../../src/errors.ts';
import type { Store, Unit } from '../../src/store.ts';

export function refusing(inner: Store, refuses: (unit: Unit) => boolean): Store {
  return new Proxy(inner, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      if (name !== 'commit') return value.bind(target);
      return async (units: Unit[]) => {
        // As the others do: all of the call, or nothing of it.
        if (units.some(refuses)) throw new DaybookError('INTERNAL', 'the store cannot hold this');
        return target.commit(units);
      };
    },
  });
}
