import { afterAll, beforeAll, expect } from "vitest";
import type { ReviewCheck, ReviewFinding } from "../../lib/checks/review-check.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { identifier, literal } from "../../lib/postgres/identifiers.ts";
import { majorOf } from "../../lib/postgres/versions.ts";
import { type ReviewReport, type ReviewRequest, type ReviewResult, review } from "../../lib/review/run.ts";
import { type Cluster, connectAsSuperuser, startCluster } from "../../lib/sandbox/cluster.ts";
import { configWith, eventually, type Limits } from "../checks/helpers.ts";
import { defaultMajor } from "./majors.ts";
import type { TestLogin, TestServer } from "./postgres.ts";

export interface ReviewOptions {
  limits?: Limits;
  replicas?: ReviewRequest["replicas"];
  /** Default 30. */
  budgetSeconds?: number;
  observeSeconds?: number;
  /** The check's own SQL is expected to fail; otherwise that fails the test. */
  mayFail?: boolean;
}

/**
 * One check through the same door as all. Each of its findings is required to be complete. The session is
 * writable again afterwards.
 */
export async function runCheck(
  check: ReviewCheck,
  session: Session,
  options: ReviewOptions = {},
): Promise<ReviewResult> {
  const report = await runChecks([check], session, options);
  return report.results[0] as ReviewResult;
}

/** Several checks in one review, as one report. */
export async function runChecks(
  checks: readonly ReviewCheck[],
  session: Session,
  options: ReviewOptions = {},
): Promise<ReviewReport> {
  const report = await review({
    session,
    config: configWith(options.limits),
    checks,
    budgetSeconds: options.budgetSeconds ?? 30,
    signal: new AbortController().signal,
    ...(options.replicas === undefined ? {} : { replicas: options.replicas }),
    ...(options.observeSeconds === undefined ? {} : { observeSeconds: options.observeSeconds }),
  });
  await writable(session);
  for (const replica of options.replicas ?? []) await writable(replica.session);
  expect(report.results.map((one) => one.check)).toEqual(checks.map((one) => one.name));
  for (const result of report.results) {
    if (options.mayFail !== true)
      expect(result.reason ?? "", result.reason).not.toContain("the check failed");
    expectHonest(result);
    const keys = result.findings.map((finding) => finding.key);
    expect(keys, "keys are unique").toEqual([...new Set(keys)]);
    for (const finding of result.findings) expectComplete(result.check, finding);
  }
  // A report is stored: what JSON does not keep would be lost.
  expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  return report;
}

/** Takes back what a review sets on its session. */
async function writable(session: Session): Promise<void> {
  await session.query(
    `select set_config('default_transaction_read_only', 'off', false), set_config('statement_timeout', '30s', false),
            set_config('lock_timeout', '2s', false)`,
  );
}

function expectHonest({ verdict, reason, findings, good }: ReviewResult): void {
  expect(verdict === "findings", "findings make the verdict").toBe(findings.length > 0);
  if (verdict === "not-assessable") expect(reason, "the reason").toMatch(/\S{3}/);
  if (verdict !== "pass") expect(good, "praise only when it passes").toEqual([]);
}

function expectComplete(check: string, finding: ReviewFinding): void {
  const what = JSON.stringify(finding, null, 1);
  expect(finding.check, what).toBe(check);
  expect(finding.key, what).toMatch(new RegExp(`^${check}/.`, "s"));
  expect(Object.keys(finding.object).length, what).toBeGreaterThan(0);
  expect(Object.keys(finding.evidence).length, what).toBeGreaterThan(0);
  const texts = [
    finding.title,
    finding.impact,
    finding.blastRadius,
    finding.rootCause,
    finding.prevention,
    finding.remediation.sql,
    finding.remediation.lock,
    finding.remediation.rollback,
  ];
  for (const text of texts) {
    expect(text.trim(), what).not.toBe("");
    expect(text, what).not.toMatch(/\b(?:undefined|NaN|Infinity)\b|\[object/);
  }
  for (const statement of [...(finding.fix?.up ?? []), ...(finding.fix?.down ?? [])]) {
    expect(statement.trim(), what).toMatch(/;$/);
  }
  if (finding.fix !== undefined) expect(finding.fix.up.length, what).toBeGreaterThan(0);
  if (finding.since !== undefined) expect(new Date(finding.since).toISOString(), what).toBe(finding.since);
}

/**
 * Carries out the finding's fix, statement by statement, and requires that the finding is gone; takes it back and
 * requires that the schema is as it was and the finding there again.
 */
export async function expectMended(
  check: ReviewCheck,
  session: Session,
  finding: ReviewFinding | undefined,
  options: ReviewOptions = {},
): Promise<void> {
  if (finding?.fix === undefined) throw new Error(`no fix to try: ${JSON.stringify(finding)}`);
  const before = await schemaOf(session);
  for (const statement of finding.fix.up) await session.query(statement);
  const mended = await runCheck(check, session, options);
  expect(
    mended.findings.map((one) => one.key),
    finding.fix.up.join("\n"),
  ).not.toContain(finding.key);
  for (const statement of finding.fix.down) await session.query(statement);
  expect(await schemaOf(session), finding.fix.down.join("\n")).toEqual(before);
}

/** What a schema dump would show of tables, columns, indexes, constraints and triggers, one line each. */
export async function schemaOf(session: Session): Promise<string[]> {
  const conEnforced = majorOf(session.serverVersionNumber) >= 18 ? "con.conenforced" : "true";
  const rows = await session.query<{ line: string }>(
    `with user_class as (
       select c.*, n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname !~ '^pg_' and n.nspname <> 'information_schema')
     select format('column %I.%I.%I %s not null %s default %s storage %s statistics %s', c.nspname, c.relname, a.attname,
                   format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attstorage,
                   a.attstattarget) as line
       from pg_attribute a join user_class c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'm', 'v', 'f')
       left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      where a.attnum > 0 and not a.attisdropped
     union all
     select format('relation %I.%I %s %s %s %s', c.nspname, c.relname, c.relkind, c.relreplident, c.reloptions, c.relpersistence)
       from user_class c
     union all
     select format('index %s valid %s clustered %s identity %s', pg_get_indexdef(x.indexrelid), x.indisvalid, x.indisclustered, x.indisreplident)
       from pg_index x join user_class c on c.oid = x.indexrelid
     union all
     select format('constraint %I on %s %s validated %s enforced %s', con.conname, con.conrelid::regclass,
                   pg_get_constraintdef(con.oid), con.convalidated, ${conEnforced})
       from pg_constraint con join pg_namespace n on n.oid = con.connamespace and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
     union all
     select format('trigger %s %s', pg_get_triggerdef(t.oid), t.tgenabled) from pg_trigger t where not t.tgisinternal
     order by 1`,
  );
  return rows.map((row) => row.line);
}

/** A role that may connect and has no other right, or with the given memberships (`pg_monitor` …). */
export async function createLogin(
  server: TestServer,
  database: string,
  memberships: readonly string[] = [],
): Promise<TestLogin> {
  const login = { user: `login_${++logins}`, password: "not-a-secret" };
  const session = await server.connect(database);
  try {
    await session.query(`create role ${identifier(login.user)} login password ${literal(login.password)}`);
    for (const role of memberships) {
      await session.query(`grant ${identifier(role)} to ${identifier(login.user)}`);
    }
  } finally {
    await session.close();
  }
  return login;
}
let logins = 0;

export interface StandbyPair {
  /** Sessions as superuser; usable inside tests and hooks. */
  readonly primary: Session;
  readonly standby: Session;
  /** Resolves when the standby has replayed all that the primary has written. */
  caughtUp(): Promise<void>;
}

/** A primary and a streaming standby for this file or `describe`; two seconds, so once an area. */
export function useStandby(major = defaultMajor): StandbyPair {
  let cluster: Cluster | undefined;
  const open: { primary?: Session; standby?: Session } = {};
  beforeAll(async () => {
    cluster = await startCluster({ major, database: "review", replicas: 1, settings: { fsync: false } });
    open.primary = await connectAsSuperuser(cluster.state, "review");
    open.standby = await connectAsSuperuser(cluster.state, "review", cluster.state.replicas[0]?.port);
  });
  afterAll(async () => {
    await open.primary?.close();
    await open.standby?.close();
    await cluster?.stop();
  });
  const running = (which: "primary" | "standby"): Session => {
    const session = open[which];
    if (session === undefined) throw new Error("the servers run in tests and hooks only");
    return session;
  };
  return {
    get primary() {
      return running("primary");
    },
    get standby() {
      return running("standby");
    },
    async caughtUp() {
      const [row] = await running("primary").query<{ lsn: string }>(
        "select pg_current_wal_lsn()::text as lsn",
      );
      await eventually("the standby has replayed it", async () => {
        const [now] = await running("standby").query<{ there: boolean }>(
          "select pg_last_wal_replay_lsn() >= $1::pg_lsn as there",
          [row?.lsn],
        );
        return now?.there === true ? true : undefined;
      });
    },
  };
}

/** Lets what this session has counted be seen by others, itself included. */
export async function flushStatistics(session: Session): Promise<void> {
  if (majorOf(session.serverVersionNumber) >= 15) {
    await session.query("select pg_stat_force_next_flush()");
    await session.query("select pg_stat_clear_snapshot()");
    return;
  }
  // Before 15 a collector process writes them out when half a second has passed, and somebody asks.
  await session.query("select pg_sleep(0.6)");
  await session.query("select pg_stat_clear_snapshot()");
  await session.query("select pg_sleep(0.1)");
}
