import { countText } from "../words.ts";
import type { Declared, ParentFacts } from "./facts.ts";
import { type DefaultContent, type Missing, readShape, type Standing } from "./ranges.ts";
import { add, type PartitionFinding } from "./report.ts";
import type { Opened } from "./run.ts";

/**
 * What is wrong with the table as it is now: what is missing ahead, gaps, ranges that are not one interval, rows in the
 * default partition. Overlaps need no look: the server refuses them.
 */
export async function noteFindings(
  { session, report }: Opened,
  facts: ParentFacts,
  declared: Declared,
  standing: Standing,
  content: DefaultContent | undefined,
  missing: readonly Missing[],
): Promise<void> {
  const table = declared.table;
  const find = (kind: string, severity: PartitionFinding["severity"], text: string, remedy: string) =>
    add(report.findings, { key: `${kind}:${facts.schema}.${facts.table}`, severity, table, text, remedy });
  const fate =
    facts.defaultPartition === undefined
      ? "rows of it are refused"
      : "rows of it go to the default partition";
  for (const { from, to, place, isGap } of missing) {
    if (isGap || place === "past") continue;
    find(
      `missing-${from}`,
      place === "now" ? "high" : "medium",
      `no partition has [${from}, ${to}): ${fate}`,
      "run manage-partitions; when it says what is in its way, remove that",
    );
  }
  const shape = await readShape(session, facts, declared);
  for (const { from, to } of shape.gaps) {
    if (missing.some((one) => one.place !== "past" && !one.isGap && one.from === from)) continue;
    find(
      `gap-${from}`,
      "medium",
      `no partition has [${from}, ${to}), between others: ${fate}`,
      `pgkeep run manage-partitions --arguments '{"fillGaps": true}'`,
    );
  }
  const irregular = facts.partitions.filter(({ oid }) => shape.irregular.includes(oid));
  if (irregular.length > 0) {
    find(
      "irregular",
      "low",
      `${countText(irregular.length, "partition")} ${irregular.length === 1 ? "is" : "are"} not one interval of ${declared.interval}, first ${irregular[0]?.name} with [${irregular[0]?.from ?? "MINVALUE"}, ${irregular[0]?.to ?? "MAXVALUE"})`,
      "nothing has to be done: what is made goes around them, and they expire by where they end",
    );
  }
  for (const { name, isDetachPending } of facts.partitions) {
    if (!isDetachPending) continue;
    find(
      "detach-pending",
      "medium",
      `the detaching of ${name} was interrupted`,
      `ALTER TABLE ${facts.name} DETACH PARTITION ${name} FINALIZE; the next run does it`,
    );
  }
  if (content === undefined) return;
  const rows = (place: string) =>
    content.strays.filter((stray) => stray.place === place).reduce((sum, stray) => sum + stray.rows, 0);
  const inDefault = facts.defaultPartition?.name ?? "";
  if (rows("wanted") > 0) {
    find(
      "default-rows",
      "medium",
      `${countText(rows("wanted"), "row")} in default partition ${inDefault} that partitions could have`,
      declared.drainDefault ? "what is in the way of moving them is said above" : "set drainDefault",
    );
  }
  if (rows("expired") > 0) {
    find(
      "default-expired",
      "low",
      `${countText(rows("expired"), "row")} in default partition ${inDefault} before ${standing.cutoff}, which retention does not keep`,
      "delete or move them by hand: rows of a default partition are never dropped",
    );
  }
  if (rows("beyond") > 0) {
    find(
      "default-beyond",
      "low",
      `${countText(rows("beyond"), "row")} in default partition ${inDefault} after all that is made ahead`,
      "see whether their times or ids are right; raise premake when they are",
    );
  }
  if (content.homeless > 0) {
    find(
      "default-homeless",
      "low",
      `${countText(content.homeless, "row")} in default partition ${inDefault} with a key that is NULL or infinite`,
      "no partition can have them: they stay, or the key is corrected",
    );
  }
}
