/** What is kept and what is handed out must not be the same. Of plain data. */
export function copy<T>(value: T): T;
export function copy(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (Array.isArray(value)) return value.map(copy);
  const copied: Record<string, unknown> = { ...value };
  for (const name in copied) {
    const inner = copied[name];
    if (typeof inner === 'object' && inner !== null) copied[name] = copy(inner);
  }
  return copied;
}
