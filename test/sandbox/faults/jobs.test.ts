import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { alarmsFor } from "../../../lib/alarms/catalogue.ts";
import type { MetricName } from "../../../lib/alarms/metrics.ts";
import { systemClock } from "../../../lib/clock.ts";
import type { DatabaseConfig } from "../../../lib/config/schema.ts";
import type { Environment } from "../../../lib/environment.ts";
import { UsageError } from "../../../lib/errors.ts";
import { applyInstall } from "../../../lib/install/apply.ts";
import { roleNames } from "../../../lib/install/role-names.ts";
import { lookFor } from "../../../lib/jobs/explain-alarm.ts";
import { jobNamed, jobs } from "../../../lib/jobs/index.ts";
import type { JobResult } from "../../../lib/jobs/job.ts";
import { runJob } from "../../../lib/jobs/runner.ts";
import type { MetricDatum } from "../../../lib/ports/metrics.ts";
import type { PostgresMajor } from "../../../lib/postgres/versions.ts";
import { loadApplication } from "../../../lib/sandbox/application/load.ts";
import { type Cluster, connectAsSuperuser, startCluster } from "../../../lib/sandbox/cluster.ts";
import { sandboxEnvironment } from "../../../lib/sandbox/environment.ts";
import { isScheduleDisabled } from "../../../lib/sandbox/faults/disable-schedule.ts";
import type { FaultContext, FaultReport } from "../../../lib/sandbox/faults/fault.ts";
import { HeldSessions } from "../../../lib/sandbox/faults/held-sessions.ts";
import { faults, runFault } from "../../../lib/sandbox/faults/index.ts";
import { scheduledJobs } from "../../../lib/sandbox/faults/jobs.ts";
import { startScheduler } from "../../../lib/sandbox/scheduler.ts";
import { contextOf } from "../../alarms/contexts.ts";
import { configFor } from "../../helpers/config.ts";
import { allMajors, defaultMajor } from "../../helpers/postgres.ts";

const day = 86_400;

/** Builds of indexes, checksums and TLS differ most between these. */
const outermost = [...new Set([allMajors[0] ?? defaultMajor, allMajors.at(-1) ?? defaultMajor])];

it("faults of one job know every job that has a schedule", () => {
  expect([...scheduledJobs].toSorted()).toEqual(jobs.map(({ name }) => name).toSorted());
  const locked = jobs.filter(({ lock }) => lock !== "none").map(({ name }) => name);
  const hang = faults.find(({ name }) => name === "hang-job");
  expect(hang?.argument?.values.toSorted()).toEqual(locked.toSorted());
});

/** Everything that pgkeep installs and a small shop, without workload, poolers and scheduler. */
class InstalledSandbox {
  readonly data: MetricDatum[] = [];
  readonly cluster: Cluster;
  readonly config: DatabaseConfig;
  readonly environment: Environment;
  readonly context: FaultContext;

  constructor(cluster: Cluster, config: DatabaseConfig) {
    this.cluster = cluster;
    this.config = config;
    const environment = sandboxEnvironment(cluster.state, config);
    const metrics = { put: async (more: readonly MetricDatum[]) => void this.data.push(...more) };
    this.environment = { ...environment, ports: { ...environment.ports, metrics } };
    this.context = {
      state: cluster.state,
      held: new HeldSessions(),
      clock: systemClock,
      signal: new AbortController().signal,
    };
  }

  static async start(major: PostgresMajor): Promise<InstalledSandbox> {
    const config = configFor('the "shop" of O\'Brien');
    const names = roleNames(config);
    const cluster = await startCluster({
      major,
      database: config.database.name,
      databaseKey: config.key,
      replicas: 0,
      roleNames: names,
    });
    const sandbox = new InstalledSandbox(cluster, config);
    const session = await sandbox.environment.connectAsMaster();
    try {
      const { roles, application } = cluster.state;
      const logins = [
        roles.monitoring,
        roles.maintenance,
        roles.drill,
        application.writer,
        application.reporting,
      ];
      const passwords = Object.fromEntries(logins.map(({ user, password }) => [user, password]));
      await applyInstall(session, config, { passwords });
      await loadApplication(session, { owner: names.owner, scale: 0.2 });
    } finally {
      await session.close();
    }
    return sandbox;
  }

  /** One run of the job, as its schedule would; what it measures is in `data`, without what was before. */
  async run(job: string, given: { arguments?: unknown } = {}): Promise<JobResult> {
    this.data.length = 0;
    const { ports, config } = this.environment;
    return runJob(jobNamed(job), { ports, config, ...given });
  }

  /** What the last run has measured. */
  measured(name: MetricName, dimensions: Record<string, string> = {}): number | undefined {
    return this.data.findLast(
      (datum) =>
        datum.name === name &&
        Object.entries(dimensions).every(([key, value]) => datum.dimensions[key] === value),
    )?.value;
  }

  /** What somebody is told of the cause when this alarm fires now. */
  async causes(name: string): Promise<string[]> {
    const alarm = alarmsFor(contextOf(this.config)).find((one) => one.name === name);
    if (alarm === undefined) throw new Error(`there is no alarm ${name}`);
    const { findings, unseen } = await lookFor(this.environment.ports, this.config, alarm);
    return [...findings.map(({ text }) => text), ...unseen];
  }

  async rows<Row>(sql: string): Promise<Row[]> {
    const session = await connectAsSuperuser(this.cluster.state, this.cluster.state.database);
    try {
      return await session.query<Row>(sql);
    } finally {
      await session.close();
    }
  }

  apply(name: string): Promise<FaultReport> {
    return runFault({ name }, this.context);
  }

  repair(name: string): Promise<FaultReport> {
    return runFault({ name, repair: true }, this.context);
  }

  /** The fault twice in each direction: the second time changes nothing and says so. */
  async around(name: string, broken: (report: FaultReport) => Promise<void>, whole: () => Promise<void>) {
    await expect(this.repair(name)).resolves.toMatchObject({ fault: name, outcome: "not-applied" });
    const report = await this.apply(name);
    expect(report).toMatchObject({ fault: name, outcome: "applied" });
    await expect(this.apply(name)).resolves.toMatchObject({ outcome: "already-applied" });
    await broken(report);
    await expect(this.repair(name)).resolves.toMatchObject({ outcome: "repaired" });
    await whole();
    await expect(this.repair(name)).resolves.toMatchObject({ outcome: "not-applied" });
  }

  async stop(): Promise<void> {
    await this.context.held.close();
    await this.cluster.stop();
  }
}

describe.each(outermost)(
  "faults of jobs, backups, indexes, certificates and clocks, PostgreSQL %i",
  (major) => {
    let sandbox: InstalledSandbox;
    beforeAll(async () => {
      sandbox = await InstalledSandbox.start(major);
    });
    afterAll(() => sandbox?.stop());

    /** What the version of the server makes no difference for. */
    const once = it.runIf(major === outermost[0]);

    const succeeds = async (job: string, given: { arguments?: unknown } = {}) => {
      const result = await sandbox.run(job, given);
      expect(result.outcome, result.reason).toBe("succeeded");
      expect(sandbox.measured("JobSucceeded", { Job: job })).toBe(1);
    };

    once("take the name of a job that they know, and nothing else behind their names", async () => {
      const about = (name: string) => sandbox.apply(name).catch((error: unknown) => error);
      expect(await about("disable-schedule:back-upp")).toMatchObject({
        message: expect.stringContaining(
          'disable-schedule knows no job named "back-upp"; there are check-health',
        ),
        remedy: "did you mean back-up?",
      });
      expect(await about("hang-job:route-replicas")).toBeInstanceOf(UsageError);
      expect(await about("break-job:vacuum")).toMatchObject({ message: "nothing can follow break-job" });
    });

    once("disable-schedule: nothing starts the job, in whatever process the schedules are", async () => {
      const ending = new AbortController();
      const everySecond = Object.fromEntries(
        ["check-recovery", "check-health"].map((name) => [name, "* * * * * *"]),
      );
      const results: string[] = [];
      const scheduler = startScheduler({
        jobs: [jobNamed("check-recovery"), jobNamed("check-health")],
        environment: {
          ...sandbox.environment,
          config: { ...sandbox.config, schedules: { ...sandbox.config.schedules, ...everySecond } },
        },
        signal: ending.signal,
        onResult: ({ job }) => void results.push(job),
        isDisabled: (job) => isScheduleDisabled(sandbox.cluster.state, job),
      });
      const planned = () => scheduler.next().map(({ job }) => job);
      try {
        await sandbox.around(
          "disable-schedule:check-recovery",
          async () => {
            expect(planned()).toEqual(["check-health"]);
            await expect.poll(() => results, { timeout: 20_000 }).toContain("check-health");
            expect(results).not.toContain("check-recovery");
            await succeeds("check-health");
          },
          async () => {
            expect(planned()).toEqual(["check-recovery", "check-health"]);
            await expect.poll(() => results, { timeout: 20_000 }).toContain("check-recovery");
          },
        );
        await sandbox.around(
          "disable-schedule",
          async () => expect(planned()).toEqual([]),
          async () => expect(planned()).toEqual(["check-recovery", "check-health"]),
        );
      } finally {
        ending.abort();
        await scheduler.stop();
      }
    });

    once("hang-job: later runs are refused, and are neither a success nor a failure", async () => {
      await sandbox.around(
        "hang-job",
        async () => {
          await expect(sandbox.run("check-recovery")).resolves.toMatchObject({
            outcome: "skipped",
            reason: "check-recovery is already running",
          });
          expect(sandbox.data).toEqual([]);
          expect(
            await sandbox.rows(
              "select outcome from pgkeep.job_run where job = 'check-recovery' and finished_at is null",
            ),
          ).toEqual([{ outcome: "running" }]);
          expect(await sandbox.causes("job-absent-check-recovery")).toContainEqual(
            expect.stringMatching(/^the last recorded run of check-recovery, .* has not ended/),
          );
          await succeeds("vacuum");
        },
        async () => {
          await sandbox.run("check-recovery");
          expect(sandbox.measured("JobSucceeded", { Job: "check-recovery" })).toBeDefined();
          expect(await sandbox.rows("select from pgkeep.job_run where id like 'fault%'")).toEqual([]);
        },
      );
      await sandbox.around(
        "hang-job:vacuum",
        async () => expect((await sandbox.run("vacuum")).outcome).toBe("skipped"),
        () => succeeds("vacuum"),
      );
    });

    once("break-job: maintenance fails with the reason, watching goes on", async () => {
      await succeeds("vacuum");
      await sandbox.around(
        "break-job",
        async () => {
          for (const job of ["vacuum", "reindex", "manage-partitions"]) {
            const result = await sandbox.run(job);
            expect(result).toMatchObject({ outcome: "failed", error: { code: "authentication" } });
            expect(result.reason ?? result.error?.message).toMatch(/pgkeep_maintenance/);
            expect(sandbox.measured("JobFailed", { Job: job })).toBe(1);
            expect(result.recorded).toBe(false);
          }
          await succeeds("check-health");
          // Who cannot log in cannot say so either: the success before it is not all that happened.
          expect(await sandbox.causes("job-failed-vacuum")).toEqual([
            expect.stringMatching(
              /^the last recorded run of vacuum, which began \S+ s ago, succeeded; no failure of the last day is recorded: the run that failed could not reach the database, or not log in, to record itself: see the log group of its function/,
            ),
          ]);
          expect(await sandbox.causes("job-failed-reindex")).toEqual([
            expect.stringMatching(
              /^no run of reindex is recorded: nothing starts one, or it cannot reach the database/,
            ),
          ]);
        },
        () => succeeds("vacuum"),
      );
    });

    const successAge = async (job: string) => {
      await succeeds("check-health");
      return (sandbox.measured("JobSuccessAge", { Job: job }) ?? Number.NaN) / day;
    };

    once(
      "age-job-runs: ages that check-health measures are beyond every limit, until the job succeeds again",
      async () => {
        const untouched =
          "select id, started_at, finished_at from pgkeep.job_run where job <> 'check-health' order by id";
        const before = await sandbox.rows(untouched);
        const installed = await sandbox.rows("select applied_at from pgkeep.schema_version order by 1");
        expect(before.length).toBeGreaterThan(2);
        await sandbox.around(
          "age-job-runs",
          async () => {
            // The second run reads what the first has handed on.
            for (const _ of ["first", "second"]) {
              expect(await successAge("drill-restore")).toBeCloseTo(1000, 0);
              expect(await successAge("vacuum")).toBeCloseTo(1000, 0);
              expect(sandbox.measured("JobSuccessAge", { Job: "check-health" })).toBeLessThan(60);
            }
            await succeeds("manage-partitions");
            expect(await successAge("manage-partitions")).toBeLessThan(1);
            await sandbox.rows(
              "delete from pgkeep.job_run where job = 'manage-partitions' and outcome = 'succeeded'",
            );
          },
          async () => {
            expect(await successAge("drill-restore")).toBeLessThan(1);
            expect(await sandbox.rows(untouched)).toEqual(before);
            expect(await sandbox.rows("select applied_at from pgkeep.schema_version order by 1")).toEqual(
              installed,
            );
          },
        );
        await sandbox.around(
          "age-job-runs:back-up",
          async () => {
            expect(await successAge("back-up")).toBeCloseTo(1000, 0);
            expect(await successAge("drill-restore")).toBeLessThan(1);
          },
          async () => expect(await successAge("back-up")).toBeLessThan(1),
        );
      },
    );

    once("fail-backup and late-backup: no new backup, and the old ones look older", async () => {
      await expect(sandbox.apply("late-backup")).rejects.toMatchObject({ code: "refused" });
      const asked = { arguments: { requested: true } };
      await sandbox.around(
        "fail-backup",
        async () => {
          expect(await sandbox.run("back-up", asked)).toMatchObject({
            outcome: "failed",
            error: { message: expect.stringContaining("takes no new backup") },
          });
          expect(sandbox.measured("JobFailed", { Job: "back-up" })).toBe(1);
          expect(await sandbox.causes("backup-failed")).toContainEqual(
            expect.stringMatching(/failed: the place for backups takes no new backup/),
          );
        },
        () => succeeds("back-up", asked),
      );
      const backups = () => sandbox.environment.ports.backups?.list();
      const before = await backups();
      await sandbox.around(
        "late-backup",
        async () => {
          await succeeds("check-recovery");
          // A week and the slack of backup-late.
          expect(sandbox.measured("BackupAge")).toBeGreaterThan(7 * day + 6 * 3600);
          expect(sandbox.measured("RestorableLag")).toBeLessThan(600);
        },
        async () => {
          expect(await backups()).toEqual(before);
          await succeeds("check-recovery");
          expect(sandbox.measured("BackupAge")).toBeLessThan(600);
        },
      );
    });

    it("leave-invalid-index: a build that failed is measured, and no write is refused for it", async () => {
      await sandbox.around(
        "leave-invalid-index",
        async ({ details }) => {
          await sandbox.run("check-health");
          expect(sandbox.measured("InvalidIndexes")).toBe(1);
          expect(await sandbox.causes("invalid-indexes")).toContainEqual(
            expect.stringMatching(/"pgkeep_fault_\w+" of "shop"."reviews" is invalid/),
          );
          expect(
            await sandbox.rows(
              `select indisvalid, indisready from pg_index where indexrelid = 'shop.${details.index as string}'::regclass`,
            ),
          ).toEqual([{ indisvalid: false, indisready: false }]);
        },
        async () => {
          await sandbox.run("check-health");
          expect(sandbox.measured("InvalidIndexes")).toBe(0);
        },
      );
    });

    const healthy = async () => {
      const result = await sandbox.run("check-health");
      expect(result.outcome, result.reason ?? result.error?.message).toBe("succeeded");
    };

    it("corrupt-table: check-integrity and the next backup name the table, and the repair clears it", async () => {
      const asked = { arguments: { requested: true } };
      await sandbox.around(
        "corrupt-table",
        async ({ details }) => {
          const backedUp = await sandbox.run("back-up", asked);
          expect(backedUp.outcome).toBe("failed");
          expect(backedUp.error?.message).toContain(`pgkeep_fault.damaged`);
          expect(backedUp.error?.message).toContain(`block ${details.block as number}`);
          // Last: it counts the pages that the backup's manifest has met.
          const looked = await sandbox.run("check-integrity");
          expect(looked.reason).toContain("table pgkeep_fault.damaged is damaged");
          expect(looked.outcome).toBe("failed");
          expect(sandbox.measured("CorruptObjects")).toBeGreaterThanOrEqual(1);
          expect(await sandbox.causes("corrupt-objects")).toContainEqual(
            expect.stringMatching(/^table pgkeep_fault.damaged is damaged/),
          );
          expect(await sandbox.rows("select count(*)::int as products from shop.products")).toHaveLength(1);
        },
        async () => {
          const looked = await sandbox.run("check-integrity");
          expect(looked.outcome, looked.reason).toBe("succeeded");
          expect(sandbox.measured("CorruptObjects")).toBe(0);
          expect(await sandbox.rows("select from pg_namespace where nspname = 'pgkeep_fault'")).toEqual([]);
        },
      );
    });

    it("expire-certificate: jobs go on over TLS and measure what is left of the certificate", async () => {
      const plain = () =>
        sandbox.rows<{ ssl: boolean }>("select ssl from pg_stat_ssl where pid = pg_backend_pid()");
      const files = async () =>
        (await readdir(sandbox.cluster.state.primary.dataDirectory)).filter(
          (name) => !name.startsWith("postmaster"),
        );
      const filesBefore = await files();
      const settings = join(sandbox.cluster.state.primary.dataDirectory, "pgkeep.conf");
      const settingsBefore = await readFile(settings, "utf8");
      await healthy();
      expect(sandbox.measured("CertificateLifeSeconds")).toBeUndefined();
      await sandbox.around(
        "expire-certificate",
        async () => {
          await healthy();
          const left = (sandbox.measured("CertificateLifeSeconds") ?? Number.NaN) / day;
          expect(left).toBeGreaterThan(2.9);
          expect(left).toBeLessThanOrEqual(3);
          expect(await sandbox.causes("certificate-expiry")).toContainEqual(
            expect.stringMatching(/expires in (2 d 23|3 d 0) h/),
          );
          // Another process of the same user; and who asked for no TLS before needs none now.
          const { primary } = sandboxEnvironment(sandbox.cluster.state, sandbox.config).ports;
          const session = await primary?.connect({ role: "monitoring" });
          expect(await session?.query("select ssl from pg_stat_ssl where pid = pg_backend_pid()")).toEqual([
            { ssl: true },
          ]);
          await session?.close();
          expect(await plain()).toEqual([{ ssl: false }]);
        },
        async () => {
          expect(await files()).toEqual(filesBefore);
          expect(await readFile(settings, "utf8")).toBe(settingsBefore);
          await expect
            .poll(() => sandbox.rows("select setting from pg_settings where name = 'ssl'"))
            .toEqual([{ setting: "off" }]);
          await healthy();
          expect(sandbox.measured("CertificateLifeSeconds")).toBeUndefined();
        },
      );
    });

    once(
      "expire-certificate: says what is missing on a machine without openssl, and changes nothing",
      async () => {
        const { PATH } = process.env;
        process.env.PATH = "/nonexistent";
        try {
          await expect(sandbox.apply("expire-certificate")).rejects.toMatchObject({
            code: "refused",
            remedy: expect.stringContaining("install OpenSSL") as string,
          });
        } finally {
          process.env.PATH = PATH;
        }
        await expect(sandbox.repair("expire-certificate")).resolves.toMatchObject({ outcome: "not-applied" });
      },
    );

    once("skew-clock: the health check measures how far its own clock is ahead", async () => {
      await healthy();
      expect(sandbox.measured("ClockSkewSeconds")).toBeLessThan(1);
      await sandbox.around(
        "skew-clock",
        async () => {
          await healthy();
          expect(sandbox.measured("ClockSkewSeconds")).toBeGreaterThan(29);
          expect(sandbox.measured("ClockSkewSeconds")).toBeLessThan(31);
          expect(await sandbox.causes("clock-skew")).toContainEqual(
            expect.stringMatching(/^the server.s clock is \d+ s behind the one here$/),
          );
        },
        async () => {
          await healthy();
          expect(sandbox.measured("ClockSkewSeconds")).toBeLessThan(1);
        },
      );
    });
  },
);
