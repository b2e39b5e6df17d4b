import { rm, writeFile } from "node:fs/promises";
import { readOnlyMark } from "../backup-store.ts";
import { exists } from "../owner.ts";
import type { Fault } from "./fault.ts";

export const failBackup: Fault = {
  name: "fail-backup",
  alarms: ["backup-failed", "backup-late", "backup-absent"],
  summary:
    "let the place for backups refuse writes: a new backup fails and says so, none is deleted, the old ones can still be restored",
  apply: async ({ state }) => {
    const mark = readOnlyMark(state.backupsDirectory);
    const details = { directory: state.backupsDirectory };
    if (await exists(mark)) {
      return { outcome: "already-applied", message: "the place for backups refuses writes", details };
    }
    await writeFile(mark, "", { mode: 0o600 });
    return { outcome: "applied", message: "the place for backups refuses writes now", details };
  },
  repair: async ({ state }) => {
    const mark = readOnlyMark(state.backupsDirectory);
    const details = { directory: state.backupsDirectory };
    if (!(await exists(mark))) {
      return { outcome: "not-applied", message: "the place for backups takes writes", details };
    }
    await rm(mark, { force: true });
    return { outcome: "repaired", message: "the place for backups takes writes again", details };
  },
};
