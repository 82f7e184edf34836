// What one stream hosts, and how Hello declares it.

import type { Aggregate } from './aggregate.ts';
import type { Hello } from './gen/daybook/v1/component.ts';
import { type ProcessManager, processManagerHosting } from './process-manager.ts';
import { type Projector, projectorHosting } from './projector.ts';
import { type Saga, sagaHosting } from './saga.ts';
import { type Upcaster, upcasterHosting } from './upcaster.ts';

export interface Hosted {
  aggregates: readonly Aggregate<unknown>[];
  upcasters: readonly Upcaster[];
  projectors: readonly Projector[];
  sagas: readonly Saga[];
  processManagers: readonly ProcessManager<unknown>[];
}

export const NOTHING: Hosted = { aggregates: [], upcasters: [], projectors: [], sagas: [], processManagers: [] };

/** Who declares it. */
export type Program = Pick<Hello, 'name' | 'version' | 'instance' | 'fileDescriptorSet'>;

export function helloOf(program: Program, hosted: Hosted): Hello {
  return {
    protocolVersion: 1,
    features: [],
    ...program,
    aggregates: hosted.aggregates.map((aggregate) => ({
      domain: aggregate.domain,
      credits: aggregate.credits,
      keepsState: aggregate.keepsState ?? true,
      snapshotSchemaVersion: aggregate.snapshot?.version ?? 0,
    })),
    projectors: hosted.projectors.map(projectorHosting),
    sagas: hosted.sagas.map(sagaHosting),
    processManagers: hosted.processManagers.map(processManagerHosting),
    upcasters: hosted.upcasters.map(upcasterHosting),
  };
}

/** Events are handed out to some of it. */
export function reacts({ projectors, sagas, processManagers }: Hosted): boolean {
  return projectors.length + sagas.length + processManagers.length > 0;
}

/**
 * What goes on one stream: decisions, which somebody waits for, are not held up behind a delivery that catches up. Upcasters go first,
 * so that nobody is handed an old event before its upcaster is there.
 */
export function streamsOf(hosted: Hosted): Hosted[] {
  const { aggregates, upcasters, ...reactors } = hosted;
  const streams: Hosted[] = [
    { ...NOTHING, aggregates, upcasters },
    { ...NOTHING, ...reactors },
  ];
  const needed = streams.filter((stream) => Object.values(stream).some((list) => list.length > 0));
  return needed.length > 0 ? needed : [NOTHING];
}
