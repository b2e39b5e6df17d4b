import pg from "pg";
import type { ConnectionTarget } from "./connect.ts";
import { connectError, statementError } from "./errors.ts";

/** A connection with parts that `pg` does not describe. */
interface Wire {
  stream: { pause(): void; destroy(): void };
  once(event: "replicationStart", listener: () => void): void;
}

/**
 * Begins to read a logical slot and stops before the first change: the server sends until its buffers are full,
 * then waits in the middle of a transaction, with what it has decoded in files. The target's user needs the right
 * of replication.
 * @throws PgkeepError as `connect` does; DatabaseError when the server does not let this slot be read
 */
export async function openStalledReader(
  target: ConnectionTarget,
  slot: string,
): Promise<{ close(): Promise<void> }> {
  const shown = `${target.host}:${target.port}/${target.database} as ${target.user}`;
  const client = new pg.Client({
    host: target.host,
    port: target.port,
    database: target.database,
    user: target.user,
    password: target.password,
    ssl: target.ssl,
    application_name: target.applicationName ?? "pgkeep",
    connectionTimeoutMillis: target.connectTimeoutMilliseconds ?? 10_000,
    replication: "database",
    // Nobody answers the server: without an end to its patience the reader would be gone after a minute.
    options: "-c wal_sender_timeout=0 -c logical_decoding_work_mem=64kB",
  } as pg.ClientConfig);
  client.on("error", () => {});
  try {
    await client.connect().catch((error: unknown) => {
      throw connectError(error, shown);
    });
    const wire = (client as unknown as { connection: Wire }).connection;
    await new Promise<void>((resolve, reject) => {
      wire.once("replicationStart", () => {
        wire.stream.pause();
        resolve();
      });
      // The command ends with its connection only; whoever closes that expects it.
      client.query(`START_REPLICATION SLOT ${client.escapeIdentifier(slot)} LOGICAL 0/0`).catch(reject);
    });
    return { close: async () => wire.stream.destroy() };
  } catch (error) {
    await client.end().catch(() => {});
    throw statementError(error, shown);
  }
}
