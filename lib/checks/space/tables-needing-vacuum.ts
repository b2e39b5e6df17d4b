import type { Holder } from "../../maintenance/horizon.ts";
import { qualified } from "../../postgres/identifiers.ts";
import { judge } from "../../vacuum/held-back.ts";
import { type Candidate, rank } from "../../vacuum/rank.ts";
import type { Reason } from "../../vacuum/triggers.ts";
import { bytesText, countText, durationText } from "../../words.ts";
import type { Severity } from "../check.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { readHolders, readVacuumState } from "./vacuum-state.ts";

export interface NeedLimits {
  /** Times its trigger: at one autovacuum is about to come, at two it should have. */
  ratio: number;
  /** Fewer dead rows are gone in a moment, whoever comes. */
  fewestDead: number;
  /** Inserts alone only cost index-only scans and later freezing. */
  fewestInserted: number;
  /** Autovacuum has had its chance: ten times its default pause. */
  recentSeconds: number;
}

const largeBytes = 100 * 2 ** 20;
const severeRatio = 10;

/**
 * Tables of which autovacuum is behind, the largest ratio of a counter to its own trigger first, with storage parameters
 * of the table and what holds the horizon back. The ages of transaction ids are a check of their own.
 */
export function tablesNeedingVacuumBeyond(limits: NeedLimits): ReviewCheck {
  return {
    name: "tables-needing-vacuum",
    title: "Which tables wait for a vacuum?",
    area: "space",
    needs: { primary: true },
    async run(context) {
      const { facts, relations, underWay } = await readVacuumState(context);
      if (!facts.settings.countsTracked) {
        return concludeReview({
          obstacle:
            "dead rows are not counted: ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf(); (on a managed server, in its parameter group)",
        });
      }
      const holders = await readHolders(context);
      const waiting = rank(relations, facts.settings, limits.ratio).flatMap((candidate) => {
        const { relation } = candidate;
        const isRecent = (relation.secondsSinceVacuum ?? Infinity) < limits.recentSeconds;
        if (isRecent || underWay.has(relation.oid) || relation.kind === "partitioned table") return [];
        const reasons = candidate.reasons.filter((reason) => counts(reason, limits));
        return reasons.length === 0 ? [] : [{ ...candidate, reasons }];
      });
      return concludeReview({
        findings: waiting.map((candidate) => finding(candidate, holders, facts.blockBytes)),
        facts: { tables: relations.length, waiting: waiting.length },
        good: ["Autovacuum keeps up: no table is far beyond its trigger."],
      });
    },
  };
}

export const tablesNeedingVacuum = tablesNeedingVacuumBeyond({
  ratio: 2,
  fewestDead: 10_000,
  fewestInserted: 1_000_000,
  recentSeconds: 600,
});

function counts({ counter, value, ratio }: Reason, limits: NeedLimits): boolean {
  if (ratio < limits.ratio) return false;
  if (counter === "dead rows") return value >= limits.fewestDead;
  return counter === "inserted rows" && value >= limits.fewestInserted;
}

function severityOf(reason: Reason, bytes: number): Severity {
  if (reason.counter !== "dead rows") return "low";
  if (bytes < largeBytes) return "low";
  return reason.ratio >= severeRatio ? "high" : "medium";
}

function finding(candidate: Candidate, holders: readonly Holder[], blockBytes: number): ReviewFinding {
  const { relation, reasons } = candidate;
  const [worst] = reasons as [Reason];
  const { schema, table } = relation;
  const name = qualified(schema, table);
  const bytes = ((worst.toast === true ? relation.toast?.relPages : relation.relPages) ?? 0) * blockBytes;
  const verdict = judge(candidate, holders, 1);
  const [holder] = verdict.holders;
  const disabled = (relation.options ?? []).some((one) => /^autovacuum_enabled=(?:f|of|n|0)/i.test(one));
  const of = worst.toast === true ? `the TOAST table of ${name}` : name;
  const count = Math.round(worst.value).toLocaleString("en");
  return {
    check: "tables-needing-vacuum",
    key: `tables-needing-vacuum/${schema}.${table}`,
    severity: severityOf(worst, bytes),
    confidence: "likely",
    object: { schema, table },
    title: `${of} has ${count} ${worst.counter === "dead rows" ? "dead rows" : "rows inserted since its last vacuum"}, ${round(worst.ratio)} times what calls for a vacuum`,
    evidence: {
      counters: reasons.map((reason) => ({
        counter: reason.toast === true ? `${reason.counter} (TOAST)` : reason.counter,
        value: Math.round(reason.value),
        trigger: Math.round(reason.trigger),
        ratio: round(reason.ratio),
      })),
      liveRows: relation.liveTuples,
      size: bytesText(bytes),
      lastVacuum:
        relation.secondsSinceVacuum === null
          ? "none known"
          : `${durationText(relation.secondsSinceVacuum)} ago`,
      storageParameters: [...(relation.options ?? [])],
      heldBackBy: verdict.holders.slice(0, 3).map((one) => one.name),
    },
    impact:
      worst.counter === "dead rows"
        ? "Scans read dead rows, and new rows make the table and its indexes grow instead of taking their place."
        : "Index-only scans read the table as well, and what must be frozen gathers.",
    blastRadius: `statements on ${name}`,
    rootCause: disabled
      ? "Autovacuum is off for this table."
      : holder !== undefined
        ? `VACUUM cannot remove them: ${holder.name} holds back the horizon.`
        : "Autovacuum does not come to it, or does not finish: too few workers, a low cost limit, or locks that cancel it.",
    prevention: disabled
      ? "Let autovacuum look after every table; vacuum by hand after a bulk load."
      : "Schedule pgkeep's vacuum, and follow its advice on storage parameters (pgkeep run vacuum --arguments '{\"advice\": true}').",
    effort: "minutes",
    remediation: {
      sql: `${holder === undefined ? "" : `-- First ${holder.remedy.replace(/\p{Cc}+/gu, " ")}\n`}VACUUM ${name};`,
      lock: `SHARE UPDATE EXCLUSIVE: reads and writes go on; ${countText(relation.relPages + relation.indexPages, "page")} of table and indexes at most`,
      rollback: "none needed",
    },
  };
}
