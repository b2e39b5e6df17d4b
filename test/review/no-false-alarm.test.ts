import { describe, expect, it } from "vitest";
import { reviewChecks } from "../../lib/checks/review-checks.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { loadApplication } from "../../lib/sandbox/application/load.ts";
import { allMajors, defaultMajor, useServer } from "../helpers/postgres.ts";
import { flushStatistics, runChecks } from "../helpers/review.ts";
import { createEveryFeature } from "./every-feature.ts";

/** What is so of the server of the tests and its superuser, whatever the database holds. */
const ofTheServer = new Set(["settings"]);

describe.each(allMajors.filter((major) => [14, defaultMajor, 18].includes(major)))(
  "all checks of the review together find nothing, on PostgreSQL %i,",
  (major) => {
    const server = useServer(major);

    async function found(session: Session): Promise<string[]> {
      await flushStatistics(session);
      const { results } = await runChecks(reviewChecks, session, { budgetSeconds: 120 });
      return results
        .filter(({ area }) => !ofTheServer.has(area))
        .flatMap(({ findings }) => findings.map(({ key, severity }) => `${severity} ${key}`));
    }

    async function database(): Promise<Session> {
      const session = await server.connect(await server.createDatabase());
      // Whoever may log in may create there, and that is found: from 15 on a new database is made so.
      if (major < 15) await session.query("revoke create on schema public from public");
      return session;
    }

    it("in a database that was just made, and in the sandbox's sample application", async () => {
      const session = await database();
      expect(await found(session)).toEqual([]);
      await loadApplication(session, { scale: 0.25 });
      await session.query("vacuum (analyze)");
      expect(await found(session)).toEqual([]);
      await session.close();
    });

    it("in a schema of 300 tables with every kind of index, constraint, type and partition", async () => {
      const session = await database();
      await createEveryFeature(session, major);
      const [count] = await session.query<{ tables: number }>(
        `select count(*)::int as tables from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind in ('r', 'p', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'`,
      );
      expect(count?.tables).toBeGreaterThanOrEqual(300);
      expect(await found(session)).toEqual([]);
      await session.close();
    });
  },
);
