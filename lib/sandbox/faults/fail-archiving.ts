import { PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import { archiveCommand } from "../archiving.ts";
import type { SandboxState } from "../state.ts";
import type { Fault, FaultContext } from "./fault.ts";
import { withSuperuser } from "./held-sessions.ts";
import { overrideSetting, restoreSetting } from "./server-setting.ts";
import { giveBackWal, writeWal } from "./write-wal.ts";

/** More than what lies in `pg_wal` on a quiet day (`min_wal_size` is 80 MB). */
const walMebibytes = 112;

/** A directory that is not there: nobody can write to it, whoever the server's user is. */
function unreachable(state: SandboxState): string {
  return `${state.archiveDirectory}.unreachable`;
}

export const failArchiving: Fault = {
  name: "fail-archiving",
  alarms: ["restorable-lag", "transaction-logs-disk"],
  summary:
    "have archive_command write to a place that is not there: no WAL reaches the archive, the primary keeps all of it, and what changed since could not be restored",
  apply: async (context) => {
    const { state } = context;
    const directory = unreachable(state);
    const details = { archive: directory };
    const applied = await overrideSetting(
      state,
      state.primary.port,
      "archive_command",
      archiveCommand(directory),
    );
    if (!applied) {
      return { outcome: "already-applied", message: "archiving fails already", details };
    }
    const segment = await withSuperuser(state, async (session) => {
      await writeWal(session, walMebibytes);
      return waitForFailure(session, context);
    });
    return {
      outcome: "applied",
      message: `WAL is archived into ${directory}, which is not there: ${segment} cannot be archived`,
      details: { ...details, segment },
    };
  },
  repair: async (context) => {
    const { state } = context;
    const details = { archive: state.archiveDirectory };
    if (!(await restoreSetting(state, state.primary.port, "archive_command"))) {
      return { outcome: "not-applied", message: "archiving was not made to fail", details };
    }
    await withSuperuser(state, async (session) => {
      await waitForArchive(session, context);
      await giveBackWal(session);
    });
    return { outcome: "repaired", message: "all WAL so far has been archived", details };
  },
};

async function waitForFailure(session: Session, { clock, signal }: FaultContext): Promise<string> {
  await session.query("select pg_switch_wal()");
  for (let attempt = 0; attempt < 300; attempt++) {
    const [row] = await session.query<{ segment: string }>(
      `select last_failed_wal as segment from pg_stat_archiver
        where last_failed_time > coalesce(last_archived_time, '-infinity')`,
    );
    if (row !== undefined) return row.segment;
    await clock.sleep(50, signal);
  }
  throw new PgkeepError("timeout", "the archiver did not notice within 15 s that its archive is gone");
}

/** The archiver rests for a minute after three failures, unless WAL is switched. */
async function waitForArchive(session: Session, { clock, signal }: FaultContext): Promise<void> {
  await session.query("select pg_create_restore_point('pgkeep fault fail-archiving')");
  const [last] = await session.query<{ segment: string }>(
    "select pg_walfile_name(pg_switch_wal()) as segment",
  );
  for (let attempt = 0; attempt < 600; attempt++) {
    const archived = await session.query("select 1 from pg_stat_archiver where last_archived_wal >= $1", [
      last?.segment,
    ]);
    if (archived.length > 0) return;
    await clock.sleep(50, signal);
  }
  throw new PgkeepError("timeout", "the archiver did not catch up within 30 s", {
    remedy: "see `select * from pg_stat_archiver` on the primary and the server's log",
  });
}
