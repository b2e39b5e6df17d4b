import { PgkeepError } from "../errors.ts";

export const supportedMajors = [14, 15, 16, 17, 18] as const;
export type PostgresMajor = (typeof supportedMajors)[number];

/** 170010 → 17. */
export function majorOf(serverVersionNumber: number): number {
  return Math.floor(serverVersionNumber / 10_000);
}

/** 170010 → "17.10". */
export function versionText(serverVersionNumber: number): string {
  return `${majorOf(serverVersionNumber)}.${serverVersionNumber % 10_000}`;
}

/** @throws PgkeepError `unsupported-server` outside 14–18 */
export function requireSupportedServer(serverVersionNumber: number): void {
  const major = majorOf(serverVersionNumber);
  const first = supportedMajors[0];
  const last = supportedMajors[supportedMajors.length - 1] as number;
  if (major >= first && major <= last) return;
  const shown = major < 10 ? String(serverVersionNumber) : versionText(serverVersionNumber);
  throw new PgkeepError(
    "unsupported-server",
    `the server runs PostgreSQL ${shown}; pgkeep works with ${first} to ${last}`,
    {
      remedy:
        major < first
          ? `upgrade the server to PostgreSQL ${first} or newer`
          : "use a version of pgkeep that knows this server",
    },
  );
}
