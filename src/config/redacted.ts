import type { Config, PeersConfig, StorageConfig } from '../config.ts';
import { hostPortText } from './addresses.ts';
import { redactedComponent } from './components.ts';
import { snakeCase } from './limits.ts';

/** The effective configuration, for people: keys as in the file. */
export function redacted(config: Config): Record<string, unknown> {
  return {
    storage: redactedStorage(config.storage),
    bus: config.bus,
    listen: {
      address: config.listen.address === undefined ? 'off' : hostPortText(config.listen.address),
      ...(config.listen.socket === undefined ? {} : { socket: config.listen.socket }),
      health: hostPortText(config.listen.health),
      peers: config.listen.peers === undefined ? 'off' : hostPortText(config.listen.peers),
      allow_remote: config.listen.allowRemote,
    },
    ...redactedPeers(config.peers),
    ...(config.domains === undefined ? {} : { domains: config.domains }),
    components: config.components.map(redactedComponent),
    upcasted_domains: config.upcastedDomains,
    descriptors: config.descriptors,
    limits: Object.fromEntries(Object.entries(config.limits).map(([name, value]) => [snakeCase(name), value])),
    log: config.log,
    reflection: config.reflection,
  };
}

function redactedPeers({ token, tls, advertise }: PeersConfig): Record<string, unknown> {
  const peers = {
    ...(token === undefined ? {} : { token: String(token) }),
    ...(tls === undefined ? {} : { cert_file: tls.cert, key_file: tls.key, ca_file: tls.ca }),
    ...(advertise === undefined ? {} : { advertise: hostPortText(advertise) }),
  };
  return Object.keys(peers).length === 0 ? {} : { peers };
}

function redactedStorage(storage: StorageConfig): Record<string, unknown> {
  if (storage.type !== 'postgres') return { ...storage };
  const { type, connectionString, schema, sslMode, sslCaFile, passwordFile, pooler, migrate, partitionEvents } =
    storage;
  return {
    type,
    connection_string: String(connectionString),
    schema,
    ...(sslMode === undefined ? {} : { sslmode: sslMode }),
    ...(sslCaFile === undefined ? {} : { ssl_ca_file: sslCaFile }),
    ...(passwordFile === undefined ? {} : { password_file: passwordFile }),
    pooler,
    migrate,
    partition_events: partitionEvents,
  };
}
