import { mkdir, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { PgkeepError } from "../../errors.ts";
import type { StoredBackup } from "../backup-store.ts";
import { exists } from "../owner.ts";
import type { SandboxState } from "../state.ts";
import { type Archive, coverage } from "../wal-archive.ts";
import { parseSegmentName, type Segment } from "../wal-names.ts";
import type { Fault, FaultContext } from "./fault.ts";
import { withSuperuser } from "./held-sessions.ts";
import { newestBackup } from "./newest-backup.ts";

/** Where lost segments wait for their repair. */
function lostDirectory(state: SandboxState): string {
  return join(state.directory, "faults", "lost-wal");
}

export const loseWal: Fault = {
  name: "lose-wal",
  alarms: ["drill-failed"],
  summary:
    "take one WAL segment that restores after the newest backup need out of the archive, with later ones still there: the drill must fail and name it",
  apply: async (context) => {
    const { state } = context;
    const { backup } = await newestBackup(state);
    const archive: Archive = {
      directories: [state.archiveDirectory],
      segmentBytes: backup.walSegmentBytes,
      systemIdentifier: backup.systemIdentifier,
    };
    const start = segmentOf(backup.startSegment, backup);
    const before = await coverage(archive, start);
    if (before.missing !== undefined) {
      return {
        outcome: "already-applied",
        message: `WAL segment ${before.missing} is missing from the archive`,
        details: { segment: before.missing, backup: backup.id },
      };
    }
    const segment = await middleSegment(context, archive, start, backup);
    await mkdir(lostDirectory(state), { recursive: true, mode: 0o700 });
    await rename(join(state.archiveDirectory, segment), join(lostDirectory(state), segment));
    return {
      outcome: "applied",
      message: `WAL segment ${segment} was taken out of the archive; the backup ${backup.id} cannot be replayed beyond it`,
      details: { segment, backup: backup.id },
    };
  },
  repair: async ({ state }) => {
    const lost = await readdir(lostDirectory(state)).catch(() => []);
    const segments = lost.filter((name) => /^[0-9A-F]{24}$/.test(name)).sort();
    for (const segment of segments) {
      if (await exists(join(state.archiveDirectory, segment))) continue;
      await rename(join(lostDirectory(state), segment), join(state.archiveDirectory, segment));
    }
    return segments.length === 0
      ? {
          outcome: "not-applied",
          message: "no WAL segment was taken out of the archive",
          details: { segments },
        }
      : {
          outcome: "repaired",
          message: `WAL segment ${segments.join(", ")} is back in the archive`,
          details: { segments },
        };
  },
};

/**
 * The first archived segment after those that the backup itself needs and before the newest: the backup
 * restores, and everything later is out of reach. Writes WAL until there is such a one.
 */
async function middleSegment(
  { state, clock, signal }: FaultContext,
  archive: Archive,
  start: Segment,
  backup: StoredBackup,
): Promise<string> {
  const stop = segmentOf(backup.stopSegment, backup).number;
  const middle = async () => {
    const { segments } = await coverage(archive, start);
    return segments.slice(0, -1).find((name) => segmentOf(name, backup).number > stop);
  };
  const found = await middle();
  if (found !== undefined) return found;
  return withSuperuser(state, async (session) => {
    // The segment that is being written, one to lose, one beyond it.
    for (let segments = 0; segments < 3; segments++) {
      await session.query("select pg_create_restore_point('pgkeep fault lose-wal')");
      await session.query("select pg_switch_wal()");
    }
    for (let attempt = 0; attempt < 600; attempt++) {
      const archived = await middle();
      if (archived !== undefined) return archived;
      await clock.sleep(50, signal);
    }
    throw new PgkeepError("refused", "no WAL segment after the newest backup reached the archive in 30 s", {
      remedy: "see `select * from pg_stat_archiver` on the primary for the archiver's failures",
    });
  });
}

function segmentOf(name: string, backup: StoredBackup): Segment {
  const segment = parseSegmentName(name, backup.walSegmentBytes);
  if (segment !== undefined) return segment;
  throw new PgkeepError("backup-invalid", `the backup ${backup.id} names ${name} as a WAL segment`);
}
