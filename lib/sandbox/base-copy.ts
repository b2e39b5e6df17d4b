import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { type CopiedFile, type CopyRequest, copyClusterFiles, writeNew } from "./cluster-files.ts";
import { giveTo } from "./owner.ts";

export type { CopiedFile } from "./cluster-files.ts";

export interface BaseCopyRequest extends CopyRequest {
  /**
   * On the server whose data directory is copied, as superuser or whoever may execute the backup functions.
   * Not used by others until the copy ends; its statement timeout is switched off.
   */
  session: Session;
  label: string;
  /** Wait until the WAL that the copy needs is archived. Default false. */
  waitForArchive?: boolean;
}

export interface BaseCopy {
  /** Where replay of the copy begins, and the first position at which it is consistent. */
  startLsn: string;
  stopLsn: string;
  startWalFile: string;
  stopWalFile: string;
  timeline: number;
  /** Text of the file `backup_label`, which is written into the copy as well. */
  backupLabel: string;
  /** Every file of the copy, `backup_label` included, sorted by path. */
  files: CopiedFile[];
}

/**
 * Copies the data directory of a running server between `pg_backup_start` and `pg_backup_stop`, as
 * pg_basebackup does: without WAL, which the archive or a replication slot has to provide.
 * @throws PgkeepError `refused` when the cluster has tablespaces or symbolic links; `statement-failed`
 */
export async function copyRunningCluster(request: BaseCopyRequest): Promise<BaseCopy> {
  const { session, from, to } = request;
  await refuseTablespaces(from);
  await mkdir(to, { recursive: true, mode: 0o700 });
  if ((await readdir(to)).length > 0) {
    throw new PgkeepError("refused", `${to} is not empty: a base copy is not written over other files`);
  }
  await giveTo(request.owner, to);
  const modern = session.serverVersionNumber >= 150_000;
  await session.query("set statement_timeout = 0");
  await session.query(
    modern ? "select pg_backup_start($1, true)" : "select pg_start_backup($1, true, false)",
    [request.label],
  );
  const stop = async (wait: boolean) => {
    const rows = await session.query<{ lsn: string; label: string; file: string }>(
      `select lsn::text, labelfile as label, pg_walfile_name(lsn) as file
       from ${modern ? "pg_backup_stop($1)" : "pg_stop_backup(false, $1)"}`,
      [wait],
    );
    return rows[0] as { lsn: string; label: string; file: string };
  };
  let files: CopiedFile[];
  try {
    files = await copyClusterFiles(request);
  } catch (error) {
    await stop(false).catch(() => {});
    throw error;
  }
  const stopped = await stop(request.waitForArchive ?? false);
  files.push(writeNew(request, "backup_label", Buffer.from(stopped.label)));
  files.sort((a, b) => (a.path < b.path ? -1 : 1));
  return { ...parseLabel(stopped.label), stopLsn: stopped.lsn, stopWalFile: stopped.file, files };
}

async function refuseTablespaces(from: string): Promise<void> {
  const tablespaces = await readdir(join(from, "pg_tblspc"));
  if (tablespaces.length === 0) return;
  throw new PgkeepError(
    "refused",
    `the cluster in ${from} has ${tablespaces.length} tablespace(s), which lie outside of its data directory`,
    {
      remedy: "move their objects to pg_default and drop the tablespaces: RDS has one storage volume as well",
    },
  );
}

function parseLabel(backupLabel: string) {
  const start = /^START WAL LOCATION: (\S+) \(file ([0-9A-F]{24})\)$/m.exec(backupLabel);
  const timeline = /^START TIMELINE: (\d+)$/m.exec(backupLabel);
  if (start === null || timeline === null) {
    throw new PgkeepError("internal", `the server's backup label is not understood:\n${backupLabel}`);
  }
  return {
    startLsn: start[1] as string,
    startWalFile: start[2] as string,
    timeline: Number(timeline[1]),
    backupLabel,
  };
}
