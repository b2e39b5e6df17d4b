import { afterEach } from "vitest";
import type { Session } from "../../../lib/ports/databases.ts";
import type { PostgresMajor } from "../../../lib/postgres/versions.ts";
import { type TestServer, useServer } from "../../helpers/postgres.ts";

export interface WorkloadServer {
  server: TestServer;
  /** A database with the extension and what the SQL makes, analysed; nothing of it is counted yet. */
  database(sql?: string | readonly string[], options?: { version?: string }): Promise<Session>;
  /** One more session in the same database; closed after the test. */
  another(session: Session): Promise<Session>;
  /** Sessions that tests made themselves. */
  closeAfterTest(session: Session): void;
}

export function useWorkload(major: PostgresMajor, settings: Record<string, string> = {}): WorkloadServer {
  const server = useServer(major, {
    settings: { autovacuum: "off", max_parallel_workers_per_gather: "0", ...settings },
  });
  const open: Session[] = [];
  afterEach(() => Promise.all(open.splice(0).map((session) => session.close())));
  return {
    server,
    closeAfterTest: (session) => void open.push(session),
    async another({ database }) {
      const session = await server.connect(database);
      open.push(session);
      return session;
    },
    async database(sql = [], options = {}) {
      const session = await server.connect(await server.createDatabase());
      open.push(session);
      const version = options.version === undefined ? "" : ` version '${options.version}'`;
      await session.query(`create extension pg_stat_statements with schema public${version}`);
      for (const statement of typeof sql === "string" ? [sql] : sql) await session.query(statement);
      await session.query("vacuum analyze");
      await session.query("select public.pg_stat_statements_reset()");
      return session;
    },
  };
}

/** Runs a statement so many times, as an application does: by itself, with parameters. */
export async function times(
  session: Session,
  count: number,
  sql: string,
  values: (turn: number) => unknown[] = () => [],
): Promise<void> {
  for (let turn = 0; turn < count; turn++) await session.query(sql, values(turn));
}

/** Runs `body` again and again until `until` has come. */
export async function meanwhile<T>(until: Promise<T>, body: (turn: number) => Promise<unknown>): Promise<T> {
  let isOver = false;
  const ended = until.finally(() => {
    isOver = true;
  });
  ended.catch(() => {});
  for (let turn = 0; !isOver; turn++) await body(turn);
  return await ended;
}
