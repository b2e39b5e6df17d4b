import { open } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { IntegrityReport } from "../../lib/integrity/report.ts";
import { checkIntegrity } from "../../lib/jobs/check-integrity.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { Replicas } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { restartServer } from "../../lib/sandbox/cluster.ts";
import { pageBytes } from "../../lib/sandbox/page-checksum.ts";
import { stopServer } from "../../lib/sandbox/server.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { defaultMajor } from "../helpers/postgres.ts";
import { useShopSandbox } from "../helpers/shop-sandbox.ts";

const sandbox = useShopSandbox(defaultMajor, { replicas: 1 });

async function run(replicaName: string) {
  const { state } = sandbox;
  const target = (port: number) => ({
    host: "127.0.0.1",
    port,
    database: state.database,
    ...state.superuser,
  });
  const port = state.replicas[0]?.port as number;
  const replicas: Replicas = {
    list: async () => [
      {
        name: "gone",
        endpoint: { host: "127.0.0.1", port: 1 },
        connect: ({ role: _, ...options }) => connect(target(1), options),
      },
      {
        name: replicaName,
        endpoint: { host: "127.0.0.1", port },
        connect: ({ role: _, ...options }) => connect(target(port), options),
      },
    ],
    answers: async () => true,
  };
  const result = await runJob(checkIntegrity, {
    ports: { ...portsFor(target(state.primary.port)), replicas },
    config: configFor(state.database),
  });
  return { result, report: result.report as unknown as IntegrityReport };
}

it("reads on the first standby that answers, and tells damage of a replica from damage of the database", async () => {
  const { state } = sandbox;
  const [replica] = state.replicas;
  if (replica === undefined) throw new Error("there is no replica");
  // Without pgkeep's schema: amcheck's own functions, as a superuser.
  const path = await sandbox.as(async (session) => {
    await session.query("checkpoint");
    const [row] = await session.query<{ path: string; lsn: string }>(
      "select pg_relation_filepath('shop.orders') as path, pg_current_wal_lsn()::text as lsn",
    );
    await sandbox.as(
      (standby) =>
        expect
          .poll(() => standby.query("select pg_last_wal_replay_lsn() >= $1::pg_lsn as there", [row?.lsn]))
          .toEqual([{ there: true }]),
      { port: replica.port },
    );
    return row?.path ?? "";
  });
  const sound = await run("reader");
  expect(sound.result.outcome).toBe("succeeded");
  expect(sound.report.server).toBe("reader");
  expect(sound.report.findings).toEqual([]);
  expect(sound.report.coverage.byKind.table.checked).toBe(sound.report.coverage.byKind.table.objects);
  expect(sound.report.coverage.byKind.index.checked).toBe(sound.report.coverage.byKind.index.objects);
  expect(sound.report.notes).toContainEqual(expect.stringMatching(/^gone cannot be asked: /));

  await stopServer(replica.dataDirectory);
  const file = await open(join(replica.dataDirectory, path), "r+");
  await file.write(Buffer.alloc(100, 7), 0, 100, 2 * pageBytes + 8000);
  await file.close();
  await restartServer(state, replica);

  const damaged = await run("reader");
  expect(damaged.result.outcome).toBe("failed");
  const finding = damaged.report.findings.find(({ check }) => check === "corrupt-table");
  expect(finding).toMatchObject({
    title: "table shop.orders is damaged on reader",
    evidence: { server: "reader", alsoOnPrimary: false, blocks: [2] },
    blastRadius: "reads of shop.orders on reader",
  });
  expect(finding?.remediation.sql).toContain("The primary is sound");
  expect(damaged.report.checksums).toContainEqual(
    expect.objectContaining({ server: "reader", enabled: true, failures: expect.any(Number) }),
  );
}, 60_000);
