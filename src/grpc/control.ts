import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import type { ControlCoordinator, RebuildStart, SubscriptionStatus } from '../coordinators/control.ts';
import { invalid } from '../errors.ts';
import type { SubscriptionStart } from '../gen/daybook/v1/component.ts';
import type {
  FlushCacheRequest,
  FlushCacheResponse,
  ListInstancesRequest,
  ListInstancesResponse,
  ListSubscriptionsRequest,
  ListSubscriptionsResponse,
  PauseRequest,
  PauseResponse,
  RebuildProgress,
  RebuildRequest,
  ResumeRequest,
  ResumeResponse,
  SetLogLevelRequest,
  SetLogLevelResponse,
  Subscription,
} from '../gen/daybook/v1/control.ts';
import { toDuration, toMicros, toTimestamp } from '../model/time.ts';
import { DOMAIN, streamOf } from '../model/validation.ts';
import type { LogLevel } from '../telemetry/log.ts';
import { type CallParts, serverStream, unary } from './calls.ts';
import { untilClosing } from './projections.ts';

export interface ControlServiceParts extends CallParts {
  control: ControlCoordinator;
}

const LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'];

/** Streams end when `closing` is aborted. */
export function controlService(parts: ControlServiceParts, closing: AbortSignal): UntypedServiceImplementation {
  const { control, log } = parts;
  return {
    setLogLevel: unary<SetLogLevelRequest, SetLogLevelResponse>(parts, async ({ level }) => {
      const known = LEVELS.find((each) => each === level);
      if (known === undefined) {
        const found = JSON.stringify(level.slice(0, 80));
        throw invalid('level', `level: expected one of ${LEVELS.join(', ')}, found ${found}`);
      }
      const previousLevel = log.level;
      log.level = known;
      return { previousLevel };
    }),

    pause: unary<PauseRequest, PauseResponse>(parts, async ({ subscription }) => {
      await control.setPaused(nameOf(subscription, 'subscription'), true);
      return {};
    }),

    resume: unary<ResumeRequest, ResumeResponse>(parts, async ({ subscription }) => {
      await control.setPaused(nameOf(subscription, 'subscription'), false);
      return {};
    }),

    rebuild: serverStream<RebuildRequest, RebuildProgress>(parts, async function* ({ projector, start }, caller) {
      const signal = untilClosing(caller.signal, closing);
      for await (const progress of control.rebuild(nameOf(projector, 'projector'), startOf(start), signal)) {
        const { leftMs, ...rest } = progress;
        yield { ...rest, timeLeft: leftMs === undefined ? undefined : toDuration(leftMs) };
      }
    }),

    flushCache: unary<FlushCacheRequest, FlushCacheResponse>(parts, async ({ cover }) => ({
      entries: control.flushCache(cover && streamOf(cover)),
    })),

    listInstances: unary<ListInstancesRequest, ListInstancesResponse>(parts, async () => ({
      instances: control.instances().map(({ components, heartbeatAtMicros, ...instance }) => ({
        ...instance,
        heartbeatAt: toTimestamp(heartbeatAtMicros),
        components: [...new Set(components.map(({ name }) => name))],
      })),
    })),

    listSubscriptions: unary<ListSubscriptionsRequest, ListSubscriptionsResponse>(parts, async (request) => {
      const names = request.subscriptions.map((name) => nameOf(name, 'subscriptions'));
      const { subscriptions, head } = await control.subscriptions(names);
      return { subscriptions: subscriptions.map(wireOf), head };
    }),
  };
}

function wireOf({ definition, state, partitions, parked, dead }: SubscriptionStatus): Subscription {
  const { name, kind, generation, domains, types } = definition;
  return {
    name,
    kind,
    generation,
    filter: { domains: [...domains], types: [...types] },
    state,
    partitions: partitions.map(({ partition, position, owner = '', epoch, lagMs }) => ({
      partition,
      position,
      owner,
      epoch,
      lag: lagMs === undefined ? undefined : toDuration(lagMs),
    })),
    parked,
    dead,
  };
}

function startOf(from: SubscriptionStart | undefined): RebuildStart {
  switch (from?.start?.$case) {
    case 'now':
      return { kind: 'now' };
    case 'afterPosition':
      return { kind: 'after', position: from.start.value };
    case 'fromTime': {
      const { nanos } = from.start.value;
      if (nanos < 0 || nanos > 999_999_999) {
        throw invalid('start.from_time', `start.from_time: expected nanos from 0 to 999999999, found ${nanos}`);
      }
      return { kind: 'time', timeMicros: toMicros(from.start.value) };
    }
    default:
      return { kind: 'beginning' };
  }
}

function nameOf(name: string, field: string): string {
  if (DOMAIN.test(name)) return name;
  throw invalid(field, `${field}: expected ${DOMAIN.source}, found ${JSON.stringify(name.slice(0, 80))}`);
}
