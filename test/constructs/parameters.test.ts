import { describe, expect, it } from "vitest";
import { capacityOf, maxConnectionsOf } from "../../lib/constructs/instance-classes.ts";
import { parameterFamily, parametersFor } from "../../lib/constructs/parameters.ts";
import { UsageError } from "../../lib/errors.ts";
import { configFor } from "../helpers/config.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { thrownBy } from "../helpers/stacks.ts";

const on = (database: Record<string, unknown>) => configFor("shop", { database });
const valuesOn = (database: Record<string, unknown>) =>
  Object.fromEntries(parametersFor(on(database)).map(({ name, value }) => [name, value]));

describe("the memory of an instance class", () => {
  it.each([
    ["t4g.micro", 2, 1],
    ["t3.2xlarge", 8, 32],
    ["m7g.large", 2, 8],
    ["m6gd.medium", 1, 4],
    ["m6gd.16xlarge", 64, 256],
    ["r7g.large", 2, 16],
    ["r6gd.12xlarge", 48, 384],
    ["c6gd.xlarge", 4, 8],
    ["x2g.xlarge", 4, 64],
    ["x2iedn.32xlarge", 128, 4096],
    ["z1d.3xlarge", 12, 96],
  ])("%s has %d vCPUs and %d GiB", (instanceClass, cpus, gibibytes) => {
    expect(capacityOf(on({ instanceClass }))).toEqual({ cpus, memoryBytes: gibibytes * 1024 ** 3 });
  });

  it("of serverless is that of its upper end", () => {
    const config = on({
      topology: "aurora",
      instanceClass: "serverless",
      serverless: { maxCapacityUnits: 8 },
    });
    expect(capacityOf(config).memoryBytes).toBe(16 * 1024 ** 3);
  });

  it.each(["q9.large", "m7g.gigantic", "t3.16xlarge", "m7g.constructor"])("of %s is not guessed", (name) => {
    const error = thrownBy(() => capacityOf(on({ instanceClass: name })));
    expect(error).toBeInstanceOf(UsageError);
    expect((error as UsageError).message).toBe(
      `database.instanceClass: the memory of ${name} is not known, so its parameters cannot be sized`,
    );
    expect((error as UsageError).remedy).toContain("choose a class of a family");
  });

  it("gives the connections that RDS gives", () => {
    expect(maxConnectionsOf(on({ instanceClass: "m7g.large" }))).toBe(901);
    expect(maxConnectionsOf(on({ instanceClass: "r7g.16xlarge" }))).toBe(5_000);
    expect(maxConnectionsOf(on({ maxConnections: 300 }))).toBe(300);
  });
});

describe("the parameters", () => {
  it("each stand once, with a reason and a source", () => {
    const parameters = parametersFor(on({ maxConnections: 300 }));
    expect(new Set(parameters.map(({ name }) => name)).size).toBe(parameters.length);
    for (const { name, value, reason, source } of parameters) {
      expect(value, name).toMatch(/^[\w.,-]+$/);
      expect(reason.length, name).toBeGreaterThan(20);
      expect(source.length, name).toBeGreaterThan(10);
    }
  });

  it.each(["14", "15", "16", "17", "18"])("force TLS and log slow statements on %s", (engineVersion) => {
    for (const topology of ["instance", "multi-az-cluster", "aurora"]) {
      expect(valuesOn({ engineVersion, topology, instanceClass: "r6gd.large" })).toMatchObject({
        "rds.force_ssl": "1",
        log_min_duration_statement: "1000",
        shared_preload_libraries: "pg_stat_statements,auto_explain",
        track_io_timing: "1",
        lock_timeout: "60000",
        idle_in_transaction_session_timeout: "600000",
      });
    }
  });

  it("are static where a restart is needed, and only there", () => {
    const fixed = parametersFor(on({ maxConnections: 300 })).filter(({ apply }) => apply === "static");
    expect(fixed.map(({ name }) => name)).toEqual([
      "max_connections",
      "reserved_connections",
      "shared_preload_libraries",
      "pg_stat_statements.max",
      "track_activity_query_size",
    ]);
  });

  it("grow with the class", () => {
    const small = valuesOn({ instanceClass: "t4g.micro" });
    const large = valuesOn({ instanceClass: "r7g.16xlarge" });
    expect(small).toMatchObject({
      work_mem: "4096",
      maintenance_work_mem: "65536",
      autovacuum_work_mem: "65536",
    });
    expect(large).toMatchObject({
      work_mem: "65536",
      maintenance_work_mem: "2097152",
      autovacuum_work_mem: "1048576",
      autovacuum_vacuum_cost_limit: "3000",
    });
  });

  it("bound the log that an abandoned slot keeps by the storage", () => {
    expect(valuesOn({ storageGigabytes: 100 }).max_slot_wal_keep_size).toBe("25600");
    expect(valuesOn({ storageGigabytes: 100 }).max_wal_size).toBe("5120");
  });

  it("reserve connections from 16 on", () => {
    expect(valuesOn({ engineVersion: "15" })).not.toHaveProperty("reserved_connections");
    expect(valuesOn({ engineVersion: "16" })).toHaveProperty("reserved_connections", "4");
  });

  it("leave Aurora's log to Aurora", () => {
    const names = Object.keys(valuesOn({ topology: "aurora", instanceClass: "r7g.large" }));
    expect(names.filter((name) => /wal|checkpoint/.test(name))).toEqual([]);
  });

  it("leave max_connections to RDS unless it is given", () => {
    expect(valuesOn({})).not.toHaveProperty("max_connections");
    expect(valuesOn({ maxConnections: 300 })).toHaveProperty("max_connections", "300");
  });

  it("never cut off every statement: that is for roles", () => {
    expect(valuesOn({})).not.toHaveProperty("statement_timeout");
  });

  it("belong to the family of engine and version", () => {
    expect(parameterFamily(on({ engineVersion: "16" }))).toBe("postgres16");
    expect(parameterFamily(on({ topology: "multi-az-cluster" }))).toBe("postgres17");
    expect(parameterFamily(on({ topology: "aurora" }))).toBe("aurora-postgresql17");
  });
});

describe.each(allMajors)("a real server of PostgreSQL %s", (major) => {
  const parameters = parametersFor(on({ engineVersion: String(major), maxConnections: 300 })).filter(
    ({ name }) => !name.startsWith("rds."),
  );
  // The servers of these tests are built without lz4; those of AWS have it.
  const given = (value: string) => (value === "lz4" ? "pglz" : value);
  const settings = Object.fromEntries(parameters.map(({ name, value }) => [name, given(value)]));
  const server = useServer(major, { settings });

  it("starts with these parameters, and needs a restart for the static ones only", async () => {
    const session = await server.connect(await server.createDatabase());
    // Of the file: a session of pgkeep brings limits of its own.
    const rows = await session.query<{
      name: string;
      context: string;
      setting: string;
      error: string | null;
    }>(
      `SELECT given.name, known.context, given.setting, given.error
         FROM pg_file_settings AS given JOIN pg_settings AS known USING (name)
        ORDER BY given.seqno`,
    );
    await session.close();
    expect(rows.filter(({ error }) => error !== null)).toEqual([]);
    const actual = new Map(rows.map((row) => [row.name, row]));
    for (const { name, value, apply } of parameters) {
      const row = actual.get(name);
      expect(row, name).toBeDefined();
      expect([name, normal(row?.setting ?? "")]).toEqual([name, normal(given(value))]);
      expect([name, row?.context === "postmaster" ? "static" : "dynamic"]).toEqual([name, apply]);
    }
  });
});

/** RDS takes 0 and 1 where the server shows off and on. */
function normal(value: string): string {
  return value.replace(/^on$/, "1").replace(/^off$/, "0");
}
