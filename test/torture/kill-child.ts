import { readFileSync } from "node:fs";
import { systemClock } from "../../lib/clock.ts";
import { pruneBackups } from "../../lib/jobs/back-up.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { type BackupPlaces, sandboxBackups } from "../../lib/sandbox/backups.ts";
import { restoreTable } from "../../lib/table-restore/restore-table.ts";
import { configFor } from "../helpers/config.ts";

// A process of its own that does one thing and is killed while it does: `kill-child.ts PLACES-FILE OPERATION NAME`.
const [file, operation, name] = process.argv.slice(2) as [string, string, string];
const places = JSON.parse(readFileSync(file, "utf8")) as BackupPlaces;
const backups = sandboxBackups(places);
const open = (port: number) =>
  connect(
    { host: "127.0.0.1", port, database: places.database, ...places.superuser },
    { statementTimeoutMilliseconds: 0 },
  );
const operations: Record<string, () => Promise<unknown>> = {
  backup: () => backups.create(name),
  prune: () =>
    pruneBackups(
      backups,
      configFor("shop", { backups: { keepDaily: 1, keepWeekly: 0, keepMonthly: 0 } }),
      new Date(),
      {
        dryRun: false,
      },
    ),
  table: () =>
    restoreTable({
      backups,
      clock: systemClock,
      connectPrimary: () => open(places.primary.port),
      connectRestored: ({ port }) => open(port),
      table: { schema: "public", name: "items" },
      target: { kind: "latest" },
      as: name,
      dryRun: false,
      signal: new AbortController().signal,
      progress: () => {},
    }),
};
process.stdout.write("begun\n");
await operations[operation]?.();
process.stdout.write("ended\n");
