/**
 * JSON that keeps every integer. Kubernetes stores integers of 64 bits, JavaScript's numbers hold 53: those beyond become
 * bigint, so that an object read and written back is the same object. `JSON.stringify` throws on them rather than lose digits.
 */
const LONG_INTEGER = /[[:,\s]-?\d{16}/;

export function parseJson(text: string): unknown {
  if (!LONG_INTEGER.test(text)) return JSON.parse(text); // a reviver is slow, and nearly no text needs one
  return (JSON.parse as SourceParse)(text, (_key, value, context) =>
    typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(context.source ?? '')
      ? BigInt(context.source ?? '')
      : value,
  );
}

export function stringifyJson(value: unknown, indent?: number): string {
  return JSON.stringify(
    value,
    (_key, field: unknown) => (typeof field === 'bigint' ? (JSON as SourceJson).rawJSON(field.toString()) : field),
    indent,
  );
}

/** TypeScript's library does not know the third argument of a reviver, nor rawJSON; Node 22 has both. */
type SourceParse = (text: string, reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown) => unknown;
type SourceJson = typeof JSON & { rawJSON(text: string): unknown };
