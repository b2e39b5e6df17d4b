import { identifier } from "../postgres/identifiers.ts";

/** A name for people: quoted only where SQL would need it. */
export function shown(...parts: string[]): string {
  return parts.map((part) => (/^[a-z_][a-z0-9_$]*$/.test(part) ? part : identifier(part))).join(".");
}
