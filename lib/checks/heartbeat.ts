import { Cron } from "croner";
import type { JobConfig } from "../config/schema.ts";
import { errorMessage } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { DatabaseError } from "../postgres/errors.ts";
import { durationText } from "../words.ts";
import type { Check } from "./check.ts";
import { conclude, metric } from "./outcome.ts";

/** When check-health runs unless `schedules.check-health` says otherwise. */
export const heartbeatSchedule = "* * * * *";

/** A run may begin late by this much without being missed. */
const slackSeconds = 30;

/** The heartbeat table in this database, as far as this role may use it. */
interface Access {
  installed: boolean;
  readable: boolean;
  writable: boolean;
  readOnly: boolean;
}

/** Looks only at the catalog, so that a role without any right on the schema gets an answer too. */
async function readAccess(session: Session): Promise<Access> {
  const [row] = await session.query<Access>(
    `select c.oid is not null as installed,
            coalesce(has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'), false) as readable,
            coalesce(has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'insert')
              and has_table_privilege(c.oid, 'update'), false) as writable,
            current_setting('transaction_read_only') = 'on' as "readOnly"
       from (select 1) as one
       left join pg_namespace n on n.nspname = 'pgkeep'
       left join pg_class c on c.relnamespace = n.oid and c.relname = 'heartbeat'`,
  );
  return row ?? { installed: false, readable: false, writable: false, readOnly: false };
}

const notInstalled = "the schema pgkeep is not installed here (`pgkeep install`)";

/** Longest time between two runs of check-health; undefined when its schedule is off. */
export function heartbeatPeriodSeconds(config: JobConfig, now: Date): number | undefined {
  const pattern = config.schedules["check-health"] ?? heartbeatSchedule;
  if (pattern === "off") return undefined;
  const runs = new Cron(pattern, { timezone: config.schedules.timeZone, paused: true }).nextRuns(4, now);
  const gaps = runs.slice(1).map((run, index) => (run.getTime() - (runs[index] as Date).getTime()) / 1000);
  return gaps.length === 0 ? undefined : Math.max(...gaps);
}

/**
 * Age of the last heartbeat. On the primary it says whether check-health runs; on a standby also how old
 * its data is, with receiving and replay together. Limit: two periods of check-health, and on a standby
 * `replicas.maxLagSeconds` more.
 */
export const heartbeat: Check = {
  name: "heartbeat",
  title: "Is the heartbeat written, and does it arrive here?",
  async run({ session, config, now }) {
    const access = await readAccess(session);
    if (!access.installed) return conclude({ obstacle: notInstalled });
    if (!access.readable) {
      return conclude({
        obstacle: `the role ${session.user} may not read pgkeep.heartbeat (\`pgkeep roles audit\` shows what it lacks)`,
      });
    }
    const [row] = await session.query<{ at: Date; writtenBy: string; ageSeconds: number }>(
      `select at, written_by as "writtenBy", extract(epoch from clock_timestamp() - at)::float8 as "ageSeconds"
         from pgkeep.heartbeat order by at desc limit 1`,
    );
    if (row === undefined || row.writtenBy === "install") {
      return conclude({ obstacle: "no run of check-health has written a heartbeat yet" });
    }
    const facts = {
      at: row.at.toISOString(),
      writtenBy: row.writtenBy,
      ageSeconds: Math.round(row.ageSeconds),
    };
    const metrics = [metric("HeartbeatAge", Math.max(0, Math.round(row.ageSeconds)))];
    const period = heartbeatPeriodSeconds(config, now);
    if (period === undefined) {
      return conclude({ obstacle: "check-health is switched off in schedules", facts, metrics });
    }
    const limit = 2 * period + slackSeconds + (session.isStandby ? config.replicas.maxLagSeconds : 0);
    return conclude({
      facts: { ...facts, limitSeconds: limit },
      metrics,
      findings:
        row.ageSeconds <= limit
          ? []
          : [
              {
                check: "heartbeat",
                key: "heartbeat",
                severity: "high",
                confidence: session.isStandby ? "likely" : "certain",
                object: { schema: "pgkeep", table: "heartbeat" },
                title: `the last heartbeat is ${durationText(row.ageSeconds)} old`,
                evidence: { ...facts, limitSeconds: limit, periodSeconds: period },
                impact: session.isStandby
                  ? "Either check-health does not run, or nothing of the primary's last changes has arrived here."
                  : "check-health has not run, so nobody was told of what went wrong meanwhile.",
                blastRadius: "every alarm of this database",
                remediation: {
                  sql: "SELECT started_at, outcome, reason FROM pgkeep.job_run WHERE job = 'check-health' ORDER BY started_at DESC LIMIT 10;",
                  lock: "none",
                  rollback: "none needed",
                },
              },
            ],
    });
  },
};

export type HeartbeatWritten = { written: boolean; because?: string };

/**
 * Writes the heartbeat, or says why it cannot be written. A write that waits for a lock or fails is
 * reported, not thrown; a lost connection is thrown.
 */
export async function writeHeartbeat(session: Session, writtenBy: string): Promise<HeartbeatWritten> {
  const no = (because: string): HeartbeatWritten => ({ written: false, because });
  if (session.isStandby) return no("the server is a standby");
  const access = await readAccess(session);
  if (!access.installed) return no(notInstalled);
  if (!access.writable) return no(`the role ${session.user} may not write to pgkeep.heartbeat`);
  if (access.readOnly) return no("sessions of this role are read-only");
  try {
    await session.query(
      `insert into pgkeep.heartbeat (at, written_by) values (clock_timestamp(), $1)
       on conflict (singleton) do update set at = excluded.at, written_by = excluded.written_by`,
      [writtenBy],
    );
    return { written: true };
  } catch (error) {
    if (error instanceof DatabaseError && error.code !== "unreachable") return no(errorMessage(error));
    throw error;
  }
}
