import { describe } from "vitest";
import { connect } from "../../lib/postgres/connect.ts";
import { sandboxBackups } from "../../lib/sandbox/backups.ts";
import { useArchivedPrimary } from "../helpers/backup-places.ts";
import { oldestAndNewest } from "../helpers/postgres.ts";
import { testBackups } from "../ports/backups.contract.ts";

describe.each(oldestAndNewest)("PostgreSQL %i", (major) => {
  const primary = useArchivedPrimary(major);
  let backups: ReturnType<typeof sandboxBackups> | undefined;
  testBackups("the sandbox", {
    backups: () => {
      backups ??= sandboxBackups(primary.places);
      return backups;
    },
    connect: () => primary.connect(),
    connectTo: ({ host, port }) => connect({ host, port, database: "shop", ...primary.places.superuser }),
  });
});
