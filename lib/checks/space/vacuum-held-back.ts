import type { Holder } from "../../maintenance/horizon.ts";
import { countText, durationText } from "../../words.ts";
import type { Severity } from "../check.ts";
import { whySessionsAreHidden } from "../outcome.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { readHolders } from "./vacuum-state.ts";

export interface HeldBackLimits {
  /** A dump or a report may take an hour; until then nothing bloats for good. */
  longSeconds: number;
  /** After a day it is forgotten, not busy. */
  forgottenSeconds: number;
  /** Where the server does not say since when: so many transactions are hours of a busy server. */
  manyTransactions: number;
  /** A tenth of the way to the stop at two billion; nothing can be frozen until it ends. */
  dangerousTransactions: number;
}

/** Whatever keeps rows that are dead already from being removed: VACUUM runs, and wins nothing, until it is gone. */
export function vacuumHeldBackBeyond(limits: HeldBackLimits): ReviewCheck {
  return {
    name: "vacuum-held-back",
    title: "What keeps VACUUM from removing dead rows?",
    area: "space",
    needs: { primary: true },
    async run(context) {
      const holders = await readHolders(context);
      const old = holders.filter((holder) => isOld(holder, limits));
      const byKey = new Map<string, Holder[]>();
      for (const holder of old) {
        const known = byKey.get(keyOf(holder));
        if (known === undefined) byKey.set(keyOf(holder), [holder]);
        else known.push(holder);
      }
      return concludeReview({
        findings: [...byKey].map(([key, same]) => finding(key, same, limits, context.now)),
        facts: { holders: holders.length, oldestTransactions: holders[0]?.ageTransactions ?? 0 },
        good: ["Nothing keeps VACUUM from removing dead rows: no old transaction, no abandoned slot."],
        obstacle: await whySessionsAreHidden(context.session),
      });
    },
  };
}

export const vacuumHeldBack = vacuumHeldBackBeyond({
  longSeconds: 3_600,
  forgottenSeconds: 86_400,
  manyTransactions: 1_000_000,
  dangerousTransactions: 200_000_000,
});

function isOld({ ageSeconds, ageTransactions, abandoned }: Holder, limits: HeldBackLimits): boolean {
  if (ageTransactions >= limits.manyTransactions) return true;
  // A slot that nothing reads and that does not say since when holds from now on, however few they are yet.
  return ageSeconds === null ? abandoned && ageTransactions > 0 : ageSeconds >= limits.longSeconds;
}

/** Without process numbers, which are others the next time. */
function keyOf(holder: Holder): string {
  const which =
    holder.slot ??
    holder.gid ??
    [holder.user ?? "unknown", ...(holder.application === undefined ? [] : [holder.application])].join("/");
  return `vacuum-held-back/${holder.kind}/${which}${holder.holds === "catalogs" ? "/catalogs" : ""}`;
}

function severityOf(holder: Holder, limits: HeldBackLimits): Severity {
  if (holder.ageTransactions >= limits.dangerousTransactions) return "critical";
  if (holder.holds === "catalogs") return "medium";
  const forgotten = (holder.ageSeconds ?? 0) >= limits.forgottenSeconds;
  return forgotten || holder.kind === "prepared transaction" || holder.kind === "replication slot"
    ? "high"
    : "medium";
}

const rootCauses: Record<Holder["kind"], string> = {
  session:
    "A session began a transaction and has not ended it: a forgotten console, a job without a timeout, a leaked connection.",
  standby: "A query runs on a standby with hot_standby_feedback, and the primary keeps its rows for it.",
  "prepared transaction": "A transaction manager prepared it and was lost before the second phase.",
  "replication slot": "What reads the slot is gone or behind.",
};

const preventions: Record<Holder["kind"], string> = {
  session:
    "Set idle_in_transaction_session_timeout (and transaction_timeout from 17 on) for application roles; read reports on a replica.",
  standby: "Limit reports on replicas with statement_timeout; alarm on the age of the oldest transaction.",
  "prepared transaction":
    "Keep max_prepared_transactions at 0 where nothing needs them; else alarm on their age.",
  "replication slot":
    "Alarm on inactive slots; set idle_replication_slot_timeout (18) and max_slot_wal_keep_size.",
};

function finding(key: string, holders: readonly Holder[], limits: HeldBackLimits, now: Date): ReviewFinding {
  const [holder] = holders as [Holder];
  const age = holder.ageSeconds === null ? "" : `for ${durationText(holder.ageSeconds)}`;
  const transactions = countText(holder.ageTransactions, "transaction");
  const what = holder.holds === "catalogs" ? "dead rows of system catalogs" : "dead rows of every table";
  return {
    check: "vacuum-held-back",
    key,
    severity: severityOf(holder, limits),
    confidence: "certain",
    object: {
      name: holder.slot ?? holder.gid ?? holder.name,
      ...(holder.user === undefined ? {} : { role: holder.user }),
      ...(holder.pid === undefined ? {} : { pid: holder.pid }),
    },
    title: `${holder.name} keeps ${what}${age === "" ? "" : ` ${age}`} (${transactions})`,
    evidence: {
      kind: holder.kind,
      holds: holder.holds,
      ageTransactions: holder.ageTransactions,
      ageSeconds: holder.ageSeconds === null ? null : Math.round(holder.ageSeconds),
      state: holder.state ?? null,
      alike: holders.length,
    },
    impact: `VACUUM cannot remove ${what.replace("dead rows", "rows")} that died since: tables and indexes bloat, reads slow down, and ids are not frozen.`,
    blastRadius:
      holder.holds === "catalogs" ? "planning and DDL of every session" : "every table that is written to",
    rootCause: rootCauses[holder.kind],
    prevention: preventions[holder.kind],
    effort: "minutes",
    ...(holder.ageSeconds === null
      ? {}
      : { since: new Date(now.getTime() - holder.ageSeconds * 1000).toISOString() }),
    remediation: remediation(holder),
  };
}

function remediation(holder: Holder): ReviewFinding["remediation"] {
  return {
    sql: `-- ${holder.name.replace(/\p{Cc}+/gu, " ")}: ${holder.remedy.replace(/\p{Cc}+/gu, " ")};`,
    lock: "none",
    rollback:
      holder.kind === "replication slot"
        ? "a slot that was dropped cannot be brought back: its consumer begins anew with a full copy"
        : "none: what it had not committed is lost, and its work has to be done again",
  };
}
