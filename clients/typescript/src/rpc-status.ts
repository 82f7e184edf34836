// google.rpc.Status, ErrorInfo and RetryInfo, as they arrive in the trailer `grpc-status-details-bin`. Read by hand: three
// tiny messages whose .proto files would clash with those that other languages install for themselves.

import { BinaryReader } from '@bufbuild/protobuf/wire';
import { Rejection } from './gen/daybook/v1/types.ts';
import { Any } from './gen/google/protobuf/any.ts';
import { Duration } from './gen/google/protobuf/duration.ts';

export interface StatusDetails {
  /** Absent when Daybook said nothing of its own, so the error is the transport's. */
  reason?: string;
  metadata: Record<string, string>;
  retryDelayMs?: number;
  rejection?: Rejection;
}

export function decodeStatusDetails(bytes: Uint8Array): StatusDetails {
  const details: StatusDetails = { metadata: {} };
  for (const detail of readStatus(bytes)) {
    const name = detail.typeUrl.slice(detail.typeUrl.lastIndexOf('/') + 1);
    if (name === 'google.rpc.ErrorInfo') {
      const info = readErrorInfo(detail.value);
      if (info.domain !== 'daybook') continue;
      details.reason = info.reason;
      details.metadata = info.metadata;
    } else if (name === 'google.rpc.RetryInfo') {
      details.retryDelayMs = readRetryInfo(detail.value);
    } else if (name === 'daybook.v1.Rejection') {
      details.rejection = Rejection.decode(detail.value);
    }
  }
  return details;
}

export function durationMs(duration: Duration): number {
  return duration.seconds * 1000 + Math.ceil(duration.nanos / 1e6);
}

/** Status{int32 code = 1, string message = 2, repeated Any details = 3}: the details. */
function readStatus(bytes: Uint8Array): Any[] {
  const details: Any[] = [];
  eachField(bytes, (field, reader) => {
    if (field !== 3) return false;
    details.push(Any.decode(reader.bytes()));
    return true;
  });
  return details;
}

/** ErrorInfo{string reason = 1, string domain = 2, map<string, string> metadata = 3}. */
function readErrorInfo(bytes: Uint8Array): { reason: string; domain: string; metadata: Record<string, string> } {
  const info = { reason: '', domain: '', metadata: {} as Record<string, string> };
  eachField(bytes, (field, reader) => {
    if (field === 1) info.reason = reader.string();
    else if (field === 2) info.domain = reader.string();
    else if (field === 3) {
      const [key, value] = readEntry(reader.bytes());
      info.metadata[key] = value;
    } else return false;
    return true;
  });
  return info;
}

function readEntry(bytes: Uint8Array): [key: string, value: string] {
  const entry: [string, string] = ['', ''];
  eachField(bytes, (field, reader) => {
    if (field !== 1 && field !== 2) return false;
    entry[field - 1] = reader.string();
    return true;
  });
  return entry;
}

/** RetryInfo{Duration retry_delay = 1}. */
function readRetryInfo(bytes: Uint8Array): number {
  let delayMs = 0;
  eachField(bytes, (field, reader) => {
    if (field !== 1) return false;
    delayMs = durationMs(Duration.decode(reader.bytes()));
    return true;
  });
  return delayMs;
}

/** Calls `take` for each field; what it does not take is skipped. */
function eachField(bytes: Uint8Array, take: (field: number, reader: BinaryReader) => boolean): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (!take(field, reader)) reader.skip(wireType, field);
  }
}
