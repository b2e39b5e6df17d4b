import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Session } from "../ports/databases.ts";
import { copyRunningCluster } from "./base-copy.ts";
import { giveTo } from "./owner.ts";
import { changeSettings, type ServerFiles } from "./server.ts";
import type { Login } from "./state.ts";

export interface ReplicaRequest {
  /** Superuser on the primary, not used by others meanwhile. */
  session: Session;
  primary: ServerFiles & { port: number };
  /** `replica-1`; its slot is `replica_1`, its application_name its name. */
  name: string;
  /** Must not exist yet. */
  dataDirectory: string;
  replication: Login;
  signal?: AbortSignal;
}

/** Name of the physical replication slot of a replica: slots have no hyphens. */
export function slotName(replica: string): string {
  return replica.replaceAll("-", "_");
}

/** Prepares the files of a streaming replica, with a slot of its own on the primary; it is not started. */
export async function prepareReplica(request: ReplicaRequest): Promise<ServerFiles> {
  const { session, primary, name, dataDirectory, replication } = request;
  const files: ServerFiles = { ...primary, dataDirectory };
  const slot = slotName(name);
  // Reserved before the copy: from here on no WAL that the replica needs can go away.
  await session.query(
    `select pg_create_physical_replication_slot($1, true)
     where not exists (select from pg_replication_slots where slot_name = $1)`,
    [slot],
  );
  await copyRunningCluster({
    session,
    from: primary.dataDirectory,
    to: dataDirectory,
    label: name,
    owner: primary.owner,
    ...(request.signal === undefined ? {} : { signal: request.signal }),
  });
  const passwordFile = `${dataDirectory}.pgpass`;
  await writePrivate(
    files,
    passwordFile,
    `127.0.0.1:${primary.port}:*:${replication.user}:${replication.password}\n`,
  );
  await writePrivate(files, join(dataDirectory, "standby.signal"), "");
  await changeSettings(files, {
    primary_conninfo: connectionString({
      host: "127.0.0.1",
      port: String(primary.port),
      user: replication.user,
      passfile: passwordFile,
      application_name: name,
      connect_timeout: "5",
    }),
    primary_slot_name: slot,
    hot_standby: true,
    hot_standby_feedback: true,
    wal_receiver_status_interval: "1s",
    // Back within a second when the primary returns from a crash, instead of five.
    wal_retrieve_retry_interval: "1s",
    // A replica archives nothing unless it is promoted, and then not over the primary's segments.
    archive_mode: false,
    archive_command: null,
    archive_timeout: null,
  });
  return files;
}

function connectionString(parameters: Record<string, string>): string {
  return Object.entries(parameters)
    .map(([name, value]) => `${name}='${value.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`)
    .join(" ");
}

async function writePrivate(files: ServerFiles, path: string, text: string): Promise<void> {
  await writeFile(path, text, { mode: 0o600 });
  await giveTo(files.owner, path);
}

/** Makes a private directory of the servers' owner. */
export async function makeDirectory(files: Pick<ServerFiles, "owner">, path: string): Promise<void> {
  await mkdir(path, { mode: 0o700 });
  await giveTo(files.owner, path);
}
