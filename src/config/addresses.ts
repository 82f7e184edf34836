// Where somebody listens or is found.

import { textOf } from './values.ts';

export interface HostPort {
  /** A name or an IP address, IPv6 without brackets. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

export function readHostPort(value: unknown): HostPort | undefined {
  const [, ipv6, host, digits] =
    /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(textOf(value) ?? '') ?? [];
  const port = Number(digits);
  return digits === undefined || port > 65_535 ? undefined : { host: (ipv6 ?? host)!, port };
}

/** `127.0.0.1:4310`, `[::1]:4310`. */
export function hostPortText({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}
