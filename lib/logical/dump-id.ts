import { PgkeepError } from "../errors.ts";

/** Names of backups become names of directories and of objects: letters, digits and hyphens. */
const validId = /^[a-z](?:-?[a-z0-9])*$/;

export function isDumpId(id: string): boolean {
  return id.length <= 200 && validId.test(id);
}

/** @throws PgkeepError `usage` */
export function requireDumpId(id: string): void {
  if (isDumpId(id)) return;
  throw new PgkeepError("usage", `${JSON.stringify(id)} cannot be the name of a logical backup`, {
    remedy: "see the names with `pgkeep dump list`",
  });
}
