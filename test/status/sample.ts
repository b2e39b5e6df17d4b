import type { Finding } from "../../lib/checks/check.ts";
import { jobs } from "../../lib/jobs/index.ts";
import type { Json } from "../../lib/json.ts";
import { sandboxAlarms } from "../../lib/sandbox/alarms/alarms-of-sandbox.ts";
import { alarmsAsJson } from "../../lib/sandbox/alarms/live.ts";
import type { AlarmView } from "../../lib/sandbox/alarms/watch.ts";
import { readAlarms, readSandbox } from "../../lib/status/alarms.ts";
import type { Part, Status } from "../../lib/status/status.ts";
import { summarize } from "../../lib/status/summary.ts";
import { configFor } from "../helpers/config.ts";

const server = (name: string) => ({ name, dataDirectory: "", port: 1 });

const everyAlarm = sandboxAlarms({
  state: { primary: server("primary"), replicas: [server("replica-1")], poolers: null },
  config: configFor("shop"),
  jobs,
  maxConnections: 100,
});

/** What a sandbox answers: every alarm of the catalogue, two on, one of which the other silences. */
export function alarmAnswer(
  on: readonly string[] = ["database-down", "replica-lag-replica-1"],
  faults: readonly string[] = [],
): Json {
  const since = new Date("2026-11-21T11:55:00.000Z");
  const views = everyAlarm.map((alarm): AlarmView => {
    const isOn = on.includes(alarm.name);
    return {
      alarm,
      state: isOn ? "ALARM" : alarm.name === "heartbeat-late" ? "INSUFFICIENT_DATA" : "OK",
      since,
      value: isOn ? alarm.threshold : 0,
      reason: "as the test has it",
      suppressedBy:
        isOn && alarm.consequenceOf.includes("database-down") && on.includes("database-down")
          ? { by: "alarm", causes: ["database-down"] }
          : undefined,
    };
  });
  return { workload: { reads: 1234, writes: 5 }, faults: [...faults], alarms: alarmsAsJson(views) };
}

/** Tries to get out of elements, attributes, script and style. */
export const hostileTexts = [
  `"; drop table x; --`,
  "<script>document.title='broken out'</script>",
  `<img src="https://example.com/x.png" onerror="document.title='broken out'">`,
  `"' onfocus=document.title='broken out' autofocus x="`,
  "</main></section></table></code></style><x>",
  "]]><!--<svg onload=alert(1)>",
];

const at = "2026-11-21T12:00:00.000Z";
const known = <T>(data: T): Part<T> => ({ state: "known", at, data });

function finding(severity: Finding["severity"], text: string): Finding {
  return {
    check: "invalid-indexes",
    key: `invalid-indexes/${text}`,
    severity,
    confidence: "certain",
    object: { schema: "public", table: text },
    title: `${text} is invalid`,
    evidence: { text },
    impact: `Writes keep ${text} current for nothing.`,
    blastRadius: `Writes to ${text}.`,
    remediation: {
      sql: `reindex index concurrently ${text};`,
      lock: "none that writes wait for",
      rollback: text,
    },
  };
}

/** A status with something in every part; `hostile` puts such texts wherever names, statements and errors stand. */
export function statusOf(options: { hostile?: boolean } = {}): Status {
  const texts = options.hostile === true ? hostileTexts : ["orders"];
  const text = texts.join(" ");
  const parts: Status["parts"] = {
    health: known({
      takenAt: at,
      resetAt: null,
      database: "shop",
      server: {
        version: "17.10",
        versionNumber: 170010,
        isStandby: false,
        startedAt: at,
        clockOffsetSeconds: 0,
      },
      results: [
        {
          check: "invalid-indexes",
          verdict: "findings",
          facts: {},
          findings: texts.map((one, index) => finding(index === 0 ? "high" : "low", one)),
          durationMs: 3,
        },
        {
          check: "deadlocks",
          verdict: "not-assessable",
          reason: text,
          facts: {},
          findings: [],
          durationMs: 1,
        },
        { check: "connections", verdict: "pass", facts: {}, findings: [], durationMs: 1 },
      ],
      counters: {},
      metrics: [],
      summary: {
        findings: { critical: 0, high: 1, medium: 0, low: texts.length - 1 },
        worst: "high",
        passed: 1,
        withFindings: 1,
        notAssessable: 1,
      },
    }),
    alarms: known({ alarms: readAlarms(alarmAnswer()) ?? [] }),
    routing: known({
      document: {
        formatVersion: 1,
        database: "shop",
        systemIdentifier: null,
        version: 7,
        publishedAt: at,
        validForSeconds: 180,
        basis: "probed",
        reason: `one of two replicas may serve reads ${text}`,
        primary: {
          endpoint: { host: "127.0.0.1", port: 5432 },
          via: "direct",
          reachable: true,
          servesReads: false,
          reason: text,
        },
        replicas: [
          {
            name: `replica-1 ${text}`,
            endpoint: { host: "127.0.0.1", port: 5433 },
            via: "pooler",
            state: "serving",
            reason: text,
            lagBytes: 0,
            lagSeconds: 0,
            caughtUpAt: at,
            weight: 100,
            since: at,
          },
        ],
      },
      ageSeconds: 12,
      stale: false,
    }),
    backups: known({
      recovery: {
        earliestRestorableAt: "2026-11-14T03:00:00.000Z",
        latestRestorableAt: at,
        restorableLagSeconds: 4,
        backups: 1,
        newestBackupAt: "2026-11-21T03:00:00.000Z",
        newestBackupAgeSeconds: 32_400,
      },
      total: 1,
      newest: [
        {
          id: `pgkeep-shop ${text}`,
          status: "available",
          startedAt: at,
          sizeBytes: 1_000_000,
          verifiedAt: null,
        },
      ],
    }),
    drill: known({
      last: {
        startedAt: at,
        outcome: "failed",
        reason: text,
        rtoSeconds: 42,
        rpoSeconds: 3,
        restoredTo: at,
        backupId: text,
        tablesProved: 3,
        proofs: [{ name: text, ok: false, detail: text }],
        notAssessable: [text],
      },
    }),
    jobs: known({
      scheduled: true,
      jobs: [
        {
          job: "vacuum",
          summary: "vacuum",
          last: { startedAt: at, outcome: "failed", seconds: 3, reason: text, errorCode: "internal" },
          lastSuccessAt: null,
          nextAt: "2026-11-21T12:30:00.000Z",
        },
      ],
    }),
    queries: known({
      database: "shop",
      by: "total",
      since: at,
      seconds: 60,
      totalMilliseconds: 1000,
      notes: [text],
      statements: [
        {
          queryId: "1",
          statement: `select * from ${text} where id = $1`,
          origin: text,
          calls: 10,
          rows: 10,
          totalMilliseconds: 500,
          meanMilliseconds: 50,
          maxMilliseconds: 60,
          planMilliseconds: 0,
          sharePercent: 50,
          blocksHit: 1,
          blocksRead: 0,
          readMilliseconds: 0,
          tempBlocksWritten: 0,
          walBytes: 0,
        },
      ],
    }),
    sizes: known({
      tables: {
        largest: [{ schema: "public", table: text, heapBytes: 1e6, toastBytes: 0, indexBytes: 2e5 }],
        tables: 1,
        bytes: 1.2e6,
        unmeasured: 0,
      },
      growth: {
        days: [],
        tables: [
          {
            schema: "public",
            table: text,
            bytes: 1.2e6,
            grownBytes: 5e5,
            fromDay: "2026-11-01",
            toDay: "2026-11-21",
          },
        ],
      },
    }),
    sandbox: known(readSandbox(alarmAnswer([], [text]))),
  };
  return {
    formatVersion: 1,
    at,
    target: "sandbox at 127.0.0.1:5432",
    database: "shop",
    ...summarize(parts),
    parts,
  };
}
