import { measureText } from "../alarms/page/measure-text.ts";
import { describeHealth, printable } from "../checks/describe-health.ts";
import { bytesText, countText, durationText } from "../words.ts";
import { sortAlarms } from "./alarms.ts";
import type { Part, PartName, PartTypes, Status } from "./status.ts";
import { grownText, lagText, relative } from "./words.ts";

type TableText = (head: readonly string[], rows: readonly (readonly (string | number)[])[]) => string;

/** Statements of which so many characters tell what they are. */
const statementCharacters = 90;

/** The status as lines for people: the summary, then each part. */
export function describeStatus(status: Status, table: TableText): string[] {
  const { parts, at } = status;
  const part = <Name extends PartName>(
    name: Name,
    title: string,
    lines: (data: PartTypes[Name]) => string[],
  ): string[] => ["", title, ...partLines(parts[name] as Part<PartTypes[Name]>, at, lines).map(indented)];
  return [
    `${printable(status.database)}, ${printable(status.target)}: ${status.level.toUpperCase()}. ${printable(status.summary)}`,
    ...(parts.sandbox.state === "known" && parts.sandbox.data.faults.length > 0
      ? [`Broken on purpose: ${parts.sandbox.data.faults.join(", ")}`]
      : []),
    ...part("health", "Health now", describeHealth),
    ...part("alarms", "Alarms", (data) => alarmLines(data, at, table)),
    ...part("routing", "Routing of reads", (data) => routingLines(data, at, table)),
    ...part("backups", "Backups", (data) => backupLines(data)),
    ...part("drill", "Last restore drill", (data) => drillLines(data, at)),
    ...part("jobs", "Jobs", (data) => jobLines(data, at, table)),
    ...part("queries", "Top queries", (data) => queryLines(data, table)),
    ...part("sizes", "Sizes", (data) => sizeLines(data, table)),
  ];
}

const indented = (text: string) =>
  text
    .split("\n")
    .map((line) => (line === "" ? "" : `  ${line}`))
    .join("\n");

function partLines<T>(part: Part<T>, now: string, lines: (data: T) => string[]): string[] {
  if (part.state === "known") return lines(part.data);
  return [
    `${part.state === "absent" ? "Not here" : "NOT KNOWN"}: ${printable(part.reason)}`,
    ...(part.remedy === undefined ? [] : [`What to do: ${printable(part.remedy)}`]),
    ...(part.state === "unknown" && part.last !== undefined
      ? [`As it was ${relative(part.last.at, now)}:`, ...lines(part.last.data)]
      : []),
  ];
}

function alarmLines({ alarms }: PartTypes["alarms"], now: string, table: TableText): string[] {
  const on = sortAlarms(alarms).filter(({ state }) => state === "ALARM");
  const noData = alarms.filter(({ state }) => state === "INSUFFICIENT_DATA").length;
  return [
    `${on.length} of ${countText(alarms.length, "alarm")} on${noData === 0 ? "" : `, ${noData} without data`}`,
    ...(on.length === 0
      ? []
      : [
          table(
            ["alarm", "", "for", "value", "silenced by"],
            on.map((alarm) => [
              alarm.name,
              alarm.severity,
              alarm.since === null ? "" : relative(alarm.since, now).replace(/ ago$/, ""),
              measureText({
                ...alarm,
                value: alarm.value ?? undefined,
                unit: alarm.unit as Parameters<typeof measureText>[0]["unit"],
              }),
              alarm.silenced === null
                ? ""
                : alarm.silenced.causes.length === 0
                  ? alarm.silenced.by
                  : alarm.silenced.causes.join(", "),
            ]),
          ),
          ...on
            .filter(({ silenced }) => silenced === null)
            .map(({ entry, title }) => `${printable(title)}: docs/runbook.md#${entry}`),
        ]),
  ];
}

function routingLines({ document, ageSeconds, stale }: PartTypes["routing"], now: string, table: TableText) {
  const { primary, replicas } = document;
  return [
    `${stale ? "STALE: " : ""}${printable(document.reason)}; published ${durationText(ageSeconds)} ago, good for ${durationText(document.validForSeconds)}`,
    table(
      ["server", "state", "lag", "reads", "since", "why"],
      [
        [
          "primary",
          primary.reachable ? (primary.servesReads ? "serves reads" : "no reads") : "unreachable",
          "",
          "",
          "",
          printable(primary.reason),
        ],
        ...replicas.map((replica) => [
          printable(replica.name),
          replica.state,
          lagText(replica),
          `${replica.weight} %`,
          relative(replica.since, now),
          printable(replica.reason),
        ]),
      ],
    ),
  ];
}

function backupLines({ recovery }: PartTypes["backups"]): string[] {
  const { earliestRestorableAt: earliest, latestRestorableAt: latest, restorableLagSeconds: lag } = recovery;
  return [
    recovery.newestBackupAt === null
      ? "There is no usable backup."
      : `Newest: ${durationText(Math.round(recovery.newestBackupAgeSeconds ?? 0))} old, of ${recovery.newestBackupAt}; ${countText(recovery.backups, "usable backup")}`,
    earliest === null || latest === null
      ? "No moment can be restored."
      : `Every moment from ${earliest} to ${latest} can be restored${lag === null ? "" : `: ${durationText(Math.round(lag))} would be lost now`}`,
  ];
}

function drillLines({ last }: PartTypes["drill"], now: string): string[] {
  if (last === null) return ["None yet: `pgkeep run drill-restore`"];
  const failed = last.proofs.filter(({ ok }) => !ok);
  const seconds = (value: number | null) => (value === null ? "unknown" : durationText(value));
  return [
    `${last.outcome} ${relative(last.startedAt, now)}${last.reason === null ? "" : `: ${printable(last.reason)}`}`,
    `RTO ${seconds(last.rtoSeconds)}, RPO ${seconds(last.rpoSeconds)}; ${last.proofs.length - failed.length} of ${countText(last.proofs.length, "proof")} held`,
    ...failed.map(({ name, detail }) => `  ${printable(name)}: ${printable(detail)}`),
  ];
}

function jobLines({ jobs, scheduled }: PartTypes["jobs"], now: string, table: TableText): string[] {
  return [
    table(
      ["job", "last run", "took", "last success", scheduled ? "next" : "next by the schedule", ""],
      jobs.map(({ job, last, lastSuccessAt, nextAt }) => [
        job,
        last === null ? "none recorded" : `${last.outcome} ${relative(last.startedAt, now)}`,
        last?.seconds == null ? "" : durationText(last.seconds),
        lastSuccessAt === null ? "never" : relative(lastSuccessAt, now),
        nextAt === null ? "off" : relative(nextAt, now),
        cut(last?.reason ?? ""),
      ]),
    ),
  ];
}

function queryLines({ statements, since, notes }: PartTypes["queries"], table: TableText): string[] {
  return [
    since === null ? "Counted since the server does not say when" : `Counted since ${since}`,
    ...(statements.length === 0
      ? ["No statement was counted yet."]
      : [
          table(
            ["total", "share", "calls", "mean", "statement"],
            statements.map((one) => [
              durationText(one.totalMilliseconds / 1000),
              `${one.sharePercent} %`,
              one.calls,
              `${Math.round(one.meanMilliseconds * 100) / 100} ms`,
              cut(one.statement),
            ]),
          ),
        ]),
    ...notes.map(printable),
  ];
}

function sizeLines({ tables, growth }: PartTypes["sizes"], table: TableText): string[] {
  if ("reason" in tables) return [printable(tables.reason)];
  const grown = (schema: string, name: string) =>
    "reason" in growth ? undefined : growth.tables.find((one) => one.schema === schema && one.table === name);
  return [
    `${countText(tables.tables, "table")}, ${bytesText(tables.bytes)}, as VACUUM and ANALYZE last counted${"reason" in growth ? `; growth: ${growth.reason}` : ""}`,
    ...(tables.largest.length === 0
      ? []
      : [
          table(
            ["table", "total", "indexes", "growth"],
            tables.largest.slice(0, 10).map((one) => {
              const growing = grown(one.schema, one.table);
              return [
                printable(`${one.schema}.${one.table}`),
                bytesText(one.heapBytes + one.toastBytes + one.indexBytes),
                bytesText(one.indexBytes),
                growing === undefined ? "" : grownText(growing),
              ];
            }),
          ),
        ]),
  ];
}

function cut(text: string): string {
  const characters = [...printable(text.replace(/\s+/g, " "))];
  return characters.length <= statementCharacters
    ? characters.join("")
    : `${characters.slice(0, statementCharacters - 1).join("")}…`;
}
