import { setTimeout as delay } from "node:timers/promises";
import type { TestServer } from "../helpers/postgres.ts";

export interface Workload {
  /** Ids whose insertion was acknowledged. */
  written: Set<number>;
  errors: unknown[];
  longestMilliseconds: number;
  statements: number;
  /** Looks at the table in which an acknowledged row was not to be seen. */
  torn: string[];
  end(): Promise<void>;
}

/**
 * Clients that insert, update and count rows of `public.events` and of its shape, some with a table of references,
 * and keep book: no row may be out of sight for a moment, and no statement may fail.
 */
export function beginWorkload(
  server: TestServer,
  database: string,
  options: { key(id: number): string; firstId: number; clients?: number },
): Workload {
  let isOver = false;
  let nextId = options.firstId;
  const clients: Promise<void>[] = [];
  const workload: Workload = {
    written: new Set(),
    errors: [],
    longestMilliseconds: 0,
    statements: 0,
    torn: [],
    async end() {
      isOver = true;
      await Promise.all(clients);
    },
  };
  const client = async (kind: number) => {
    const session = await server.connect(database, undefined, { lockTimeoutMilliseconds: 0 });
    const timed = async <T>(sql: string, values?: unknown[]): Promise<T[]> => {
      const begin = performance.now();
      try {
        return await session.query<T>(sql, values);
      } catch (error) {
        workload.errors.push(error);
        return [];
      } finally {
        workload.statements += 1;
        workload.longestMilliseconds = Math.max(workload.longestMilliseconds, performance.now() - begin);
      }
    };
    for (let n = 0; !isOver; n += 1) {
      const id = nextId++;
      const rows = await timed<{ id: number }>(
        `insert into public.events (id, at, note) values ($1, ${options.key(id)}, 'new') returning id`,
        [id],
      );
      if (rows.length === 1) {
        workload.written.add(id);
        const changed = await timed<{ id: number }>(
          `update public.events set note = 'seen' where id = $1 and at = ${options.key(id)} returning id`,
          [id],
        );
        if (changed.length !== 1) workload.torn.push(`row ${id} was not there to be changed`);
      }
      if (n % 10 === kind) {
        const known = workload.written.size;
        const counted = await timed<{ n: number }>(
          "select count(*)::int8 as n from public.events where id >= $1",
          [options.firstId],
        );
        if ((counted[0]?.n ?? known) < known)
          workload.torn.push(`${counted[0]?.n} of ${known} rows in sight`);
      }
      await delay(2);
    }
    await session.close();
  };
  for (let kind = 0; kind < (options.clients ?? 3); kind += 1) clients.push(client(kind));
  return workload;
}
