import { expect } from "vitest";
import type { IntegrityReport } from "../../lib/integrity/report.ts";
import { checkIntegrity } from "../../lib/jobs/check-integrity.ts";
import type { JobResult } from "../../lib/jobs/job.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { Replicas } from "../../lib/ports/databases.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import type { TestLogin, TestServer } from "../helpers/postgres.ts";
import { type Installed, installed, password } from "../install/installed.ts";

const noReplicas: Replicas = { list: async () => [], answers: async () => false };

interface Options {
  integrity?: Record<string, unknown>;
  login?: TestLogin;
  dryRun?: boolean;
  signal?: AbortSignal;
}

/** A run of check-integrity, as pgkeep_monitoring unless a login is given. */
export async function runIntegrity(server: TestServer, database: string, options: Options = {}) {
  const login = options.login ?? { user: "pgkeep_monitoring", password };
  const ports = { ...portsFor(server.target(database, login)), replicas: noReplicas };
  const config = configFor(database, { integrity: options.integrity ?? {} });
  const result = await runJob(checkIntegrity, {
    ports,
    config,
    ...(options.dryRun === undefined ? {} : { dryRun: options.dryRun }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  return { result, report: result.report as unknown as IntegrityReport, data: ports.data };
}

export function succeeded(ran: { result: JobResult; report: IntegrityReport }): IntegrityReport {
  expect(ran.result.error).toBeUndefined();
  expect(ran.result.outcome, ran.result.reason).toBe("succeeded");
  return ran.report;
}

/** A new database with pgkeep's schema; `sql` runs statements as superuser. */
export async function shopOf(
  server: TestServer,
  database?: string,
): Promise<Installed & { sql(...statements: string[]): Promise<void> }> {
  const made = await installed(server, database === undefined ? {} : { database });
  const sql = (...statements: string[]) =>
    made.as(undefined, async (session) => {
      for (const statement of statements) await session.query(statement);
    });
  return { ...made, sql };
}
