import { measureText } from "../../alarms/page/measure-text.ts";
import type { Finding } from "../../checks/check.ts";
import { severities } from "../../checks/health.ts";
import { badge, bar, pair, table } from "../../html/elements.ts";
import { code, type Html, html, moment, name, numberText, type Part as Piece } from "../../html/markup.ts";
import { bytesText, countText, durationText } from "../../words.ts";
import { sortAlarms } from "../alarms.ts";
import type { AlarmNow, JobNow, Part, PartName, PartTypes, Status } from "../status.ts";
import { grownText, lagText, relative } from "../words.ts";

export interface Section {
  id: PartName;
  title: string;
  /** What is to be seen to there; shown beside the title. */
  count?: number;
  content: Html;
}

/** What of the status stands on the page, in the order of urgency. */
export function sections(status: Status): Section[] {
  const { parts, at } = status;
  const one = <Name extends PartName>(
    id: Name,
    title: string,
    content: (data: PartTypes[Name]) => Html,
    count?: (data: PartTypes[Name]) => number,
  ): Section => {
    const part = parts[id] as Part<PartTypes[Name]>;
    return {
      id,
      title,
      ...(count === undefined || part.state !== "known" ? {} : { count: count(part.data) }),
      content: partContent(part, at, content),
    };
  };
  return [
    ...(parts.sandbox.state === "absent" ? [] : [one("sandbox", "Sandbox", sandboxContent)]),
    one("health", "Health now", healthContent, ({ summary }) =>
      severities.reduce((sum, severity) => sum + summary.findings[severity], 0),
    ),
    one(
      "alarms",
      "Alarms",
      ({ alarms }) => alarmsContent(alarms, at),
      ({ alarms }) => alarms.filter(({ state }) => state === "ALARM").length,
    ),
    one("routing", "Routing of reads", (data) => routingContent(data, at)),
    one("backups", "Backups", (data) => backupsContent(data, at)),
    one("drill", "Last restore drill", (data) => drillContent(data, at)),
    one("jobs", "Jobs", (data) => jobsContent(data, at)),
    one("queries", "Top queries", queriesContent),
    one("sizes", "Sizes", sizesContent),
  ];
}

/** Parts that are read rarely say how old they are. */
const toldAgeMilliseconds = 20_000;

function partContent<T>(part: Part<T>, now: string, content: (data: T) => Html): Html {
  if (part.state === "known") {
    const age = Date.parse(now) - Date.parse(part.at);
    return html`${age < toldAgeMilliseconds ? "" : html`<p class="about">As it was ${ago(part.at, now)}.</p>`}${content(part.data)}`;
  }
  const remedy =
    part.remedy === undefined ? "" : html` <span class="remedy">What to do: ${part.remedy}</span>`;
  if (part.state === "absent")
    return html`<p class="absent"><strong>Not here:</strong> ${part.reason}.${remedy}</p>`;
  return html`<p class="note" role="note"><strong>Not known:</strong> ${part.reason}.${remedy}</p>${
    part.last === undefined
      ? ""
      : html`<div class="past"><p class="about">As it was ${ago(part.last.at, now)}:</p>${content(part.last.data)}</div>`
  }`;
}

const ago = (iso: string, now: string): Html =>
  html`<time datetime="${iso}" title="${iso}">${relative(iso, now)}</time>`;

type MarkKind = "good" | "bad" | "doubtful" | "plain";
const signs: Readonly<Record<MarkKind, string>> = { good: "✓", bad: "✕", doubtful: "!", plain: "·" };

/** A state as a word, with a sign and a colour that repeat it. */
export function mark(kind: MarkKind, text: string): Html {
  return html`<span class="mark ${kind}"><span aria-hidden="true">${signs[kind]} </span>${text}</span>`;
}

function sandboxContent({ faults, workload }: PartTypes["sandbox"]): Html {
  return html`<p>${
    faults.length === 0
      ? "Nothing is broken on purpose."
      : html`${mark("doubtful", "Broken on purpose")} ${faults.join(", ")}`
  } <span class="about">Workload: ${workload.map(({ name: what, count }) => `${numberText(count)} ${what}`).join(", ") || "none"}.</span></p>`;
}

function healthContent(report: PartTypes["health"]): Html {
  const { results, server, summary } = report;
  const findings = results.flatMap((result) => result.findings);
  const unseen = results.filter(({ reason }) => reason !== undefined);
  const passed = results.filter(({ verdict }) => verdict === "pass");
  return html`<p class="about">PostgreSQL ${server.version}, ${server.isStandby ? "standby" : "primary"}, running since ${moment(
    server.startedAt,
  )}. ${summary.passed} of ${countText(results.length, "check")} passed${
    summary.notAssessable === 0 ? "" : `, ${summary.notAssessable} could not be assessed`
  }.</p>
${findings.length === 0 ? html`<p>${mark("good", "Nothing found")}</p>` : ""}
${severities.map((severity) => {
  const those = findings.filter((one) => one.severity === severity);
  return those.length === 0
    ? ""
    : html`<h3 data-key="${severity}">${capitalized(severity)} <span class="count">${those.length}</span></h3>${those.map(findingContent)}`;
})}
${
  unseen.length === 0
    ? ""
    : html`<h3 data-key="unseen">Could not be assessed <span class="count">${unseen.length}</span></h3>
<dl class="wide">${unseen.map(({ check, verdict, reason }) =>
        pair(html`<code>${check}</code>${verdict === "findings" ? " (in part)" : ""}`, reason ?? ""),
      )}</dl>`
}
${passed.length === 0 ? "" : html`<p class="about">Fine: ${passed.map(({ check }) => check).join(", ")}.</p>`}`;
}

const capitalized = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);

function findingContent(finding: Finding): Html {
  const { remediation } = finding;
  return html`<article class="finding" data-key="${finding.key}"><details>
<summary>${badge(finding.severity)} <h4>${finding.title}</h4><span class="about">${finding.check} · ${finding.confidence}</span></summary>
<div class="body"><p class="impact">${finding.impact}</p>
<h5>What to do</h5>
${code(`What to do: ${finding.title}`, remediation.sql)}
<dl>${pair("Locks", remediation.lock)}${pair("Rollback", remediation.rollback)}${pair("Affects", finding.blastRadius)}</dl>
</div></details></article>\n`;
}

const alarmStates: Readonly<Record<AlarmNow["state"], readonly [MarkKind, string]>> = {
  ALARM: ["bad", "ALARM"],
  INSUFFICIENT_DATA: ["doubtful", "no data"],
  OK: ["good", "OK"],
};

function alarmsContent(alarms: readonly AlarmNow[], now: string): Html {
  const sorted = sortAlarms(alarms);
  const on = sorted.filter(({ state }) => state === "ALARM");
  const others = sorted.filter(({ state }) => state !== "ALARM");
  const noData = others.filter(({ state }) => state === "INSUFFICIENT_DATA").length;
  return html`${on.length === 0 ? html`<p>${mark("good", "No alarm is on")}</p>` : alarmTable("Alarms that are on", on, now)}
${
  others.length === 0
    ? ""
    : html`<details class="rest" data-key="others"><summary>${countText(others.length, "alarm")} not on${
        noData === 0 ? "" : `, ${noData} of them without data`
      }</summary>${alarmTable("Alarms that are not on", others, now)}</details>`
}`;
}

function alarmTable(caption: string, alarms: readonly AlarmNow[], now: string): Html {
  return table(
    caption,
    ["Alarm", { words: "State" }, { words: "Value" }, { words: "Silenced by" }],
    alarms.map((alarm) => [
      html`<a href="/runbook#${alarm.entry}">${alarm.name}</a><span class="about">${alarm.severity}: ${alarm.title}</span>`,
      html`${mark(...alarmStates[alarm.state])}${
        alarm.since === null ? "" : html`<span class="about">for ${duration(alarm.since, now)}</span>`
      }`,
      html`${measureText({
        value: alarm.value ?? undefined,
        threshold: alarm.threshold,
        // Units come from the catalogue; one of a later version is shown as a number.
        unit: alarm.unit as Parameters<typeof measureText>[0]["unit"],
        comparison: alarm.comparison,
      })}`,
      silencedText(alarm, now),
    ]),
    alarms.map((alarm) => alarm.name),
  );
}

function silencedText({ silenced, consequenceOf }: AlarmNow, now: string): Piece {
  if (silenced !== null) {
    return html`${mark("plain", "silenced")}<span class="about">${silenced.by}${
      silenced.causes.length === 0 ? "" : `: ${silenced.causes.join(", ")}`
    }${silenced.until === null ? "" : `, until ${relative(silenced.until, now)}`}</span>`;
  }
  return consequenceOf.length === 0
    ? ""
    : html`<span class="about">would be by ${consequenceOf.join(", ")}</span>`;
}

const duration = (since: string, now: string) =>
  durationText(Math.max(0, Math.round((Date.parse(now) - Date.parse(since)) / 1000)));

const replicaStates: Readonly<Record<string, readonly [MarkKind, string]>> = {
  serving: ["good", "serving"],
  lagging: ["doubtful", "lagging"],
  warming: ["doubtful", "warming"],
  unreachable: ["bad", "unreachable"],
};

function routingContent({ document, stale }: PartTypes["routing"], now: string): Html {
  const { primary, replicas } = document;
  const place = ({ endpoint, via }: { endpoint: { host: string; port: number }; via: string }) =>
    html`<span class="about">${name(`${endpoint.host}:${endpoint.port}`)}${via === "pooler" ? " (pooler)" : ""}</span>`;
  return html`<p>${
    stale ? html`${mark("doubtful", "Stale")} route-replicas does not run. ` : ""
  }${document.reason}. <span class="about">Version ${document.version}, published ${ago(
    document.publishedAt,
    now,
  )}, good for ${durationText(document.validForSeconds)}.</span></p>
${table(
  "Servers and their share of reads",
  ["Server", { words: "State" }, "Lag", "Reads", { words: "Why" }],
  [
    [
      html`primary${place(primary)}`,
      primary.reachable
        ? mark("good", primary.servesReads ? "serves reads" : "no reads")
        : mark("bad", "unreachable"),
      "",
      "",
      primary.reason,
    ],
    ...replicas.map((replica) => [
      html`${name(replica.name)}${place(replica)}`,
      html`${mark(...(replicaStates[replica.state] ?? ["plain", replica.state]))}<span class="about">since ${ago(replica.since, now)}</span>`,
      lagText(replica),
      `${replica.weight} %`,
      replica.reason,
    ]),
  ],
  ["", ...replicas.map((replica) => replica.name)],
)}`;
}

function backupsContent({ recovery, newest, total }: PartTypes["backups"], now: string): Html {
  const { earliestRestorableAt: earliest, latestRestorableAt: latest } = recovery;
  return html`<dl>
${pair(
  "Newest backup",
  recovery.newestBackupAt === null
    ? mark("bad", "none")
    : html`${durationText(Math.round(recovery.newestBackupAgeSeconds ?? 0))} old, begun ${moment(recovery.newestBackupAt)}`,
)}
${pair("Usable backups", recovery.backups)}
${pair(
  "Can be restored",
  earliest === null || latest === null
    ? mark("bad", "no moment")
    : html`every moment from ${moment(earliest)} to ${moment(latest)}`,
)}
${recovery.restorableLagSeconds === null ? "" : pair("Lost if it were lost now", durationText(Math.round(recovery.restorableLagSeconds)))}
</dl>
${
  newest.length === 0
    ? ""
    : table(
        "Backups",
        [`Newest of ${total}`, { words: "State" }, "Begun", "Size", { words: "Proved" }],
        newest.map((backup) => [
          html`<code>${backup.id}</code>`,
          backup.status === "available"
            ? mark("good", backup.status)
            : mark(backup.status === "failed" ? "bad" : "plain", backup.status),
          ago(backup.startedAt, now),
          backup.sizeBytes === null ? "" : bytesText(backup.sizeBytes),
          backup.verifiedAt === null ? "not yet" : ago(backup.verifiedAt, now),
        ]),
        newest.map(({ id }) => id),
      )
}`;
}

function drillContent({ last }: PartTypes["drill"], now: string): Html {
  if (last === null)
    return html`<p>${mark("doubtful", "None yet")} <code>pgkeep run drill-restore</code></p>`;
  const failed = last.proofs.filter(({ ok }) => !ok);
  const seconds = (value: number | null) => (value === null ? "unknown" : durationText(value));
  return html`<p>${last.outcome === "succeeded" ? mark("good", "succeeded") : mark(last.outcome === "failed" ? "bad" : "plain", last.outcome)} ${ago(
    last.startedAt,
    now,
  )}${last.reason === null ? "" : html`: ${last.reason}`}</p>
<dl>
${pair("Time to restore (RTO)", seconds(last.rtoSeconds))}
${pair("Data that would be lost (RPO)", seconds(last.rpoSeconds))}
${last.restoredTo === null ? "" : pair("Restored to", moment(last.restoredTo))}
${last.backupId === null ? "" : pair("From backup", html`<code>${last.backupId}</code>`)}
${pair("Proofs", `${last.proofs.length - failed.length} of ${last.proofs.length} held${last.tablesProved === null ? "" : `, ${countText(last.tablesProved, "table")} proved`}`)}
${failed.map((proof) => pair(html`${mark("bad", proof.name)}`, proof.detail))}
${last.notAssessable.length === 0 ? "" : pair("Could not be proved", html`<ul>${last.notAssessable.map((one) => html`<li>${one}</li>`)}</ul>`)}
</dl>`;
}

const outcomes: Readonly<Record<string, MarkKind>> = {
  succeeded: "good",
  failed: "bad",
  skipped: "doubtful",
  running: "plain",
};

function jobsContent({ jobs, scheduled }: PartTypes["jobs"], now: string): Html {
  return html`${
    scheduled
      ? ""
      : html`<p class="about">Nothing here runs them; the next run is when the configuration would have it.</p>`
  }${table(
    "Jobs and their last runs",
    ["Job", { words: "Last run" }, "Took", { words: "Last success" }, { words: "Next" }],
    jobs.map((job) => [
      html`<code>${job.job}</code>`,
      lastRun(job, now),
      job.last?.seconds == null ? "" : durationText(job.last.seconds),
      job.lastSuccessAt === null ? "never" : ago(job.lastSuccessAt, now),
      job.nextAt === null ? "off" : ago(job.nextAt, now),
    ]),
    jobs.map(({ job }) => job),
  )}`;
}

function lastRun({ last }: JobNow, now: string): Html {
  if (last === null) return html`<span class="about">none recorded</span>`;
  return html`${mark(outcomes[last.outcome] ?? "plain", last.outcome)} ${ago(last.startedAt, now)}${
    last.reason === null ? "" : html`<span class="about">${last.reason}</span>`
  }`;
}

function queriesContent({ statements, since, totalMilliseconds, notes }: PartTypes["queries"]): Html {
  const most = Math.max(Number.MIN_VALUE, ...statements.map((one) => one.totalMilliseconds));
  return html`<p class="about">${durationText(totalMilliseconds / 1000)} of execution${
    since === null ? "" : html` since ${moment(since)}`
  }. Statements without their values.</p>
${
  statements.length === 0
    ? html`<p>No statement was counted yet.</p>`
    : table(
        "Statements by the time they took",
        ["Statement", "", "Share", "Time", "Calls", "Mean"],
        statements.map((one) => [
          html`<code class="statement" dir="ltr">${one.statement}</code>${
            one.origin === undefined ? "" : html`<span class="about">${one.origin}</span>`
          }`,
          bar([["a", one.totalMilliseconds / most]]),
          `${one.sharePercent} %`,
          durationText(one.totalMilliseconds / 1000),
          numberText(one.calls),
          `${numberText(one.meanMilliseconds)} ms`,
        ]),
        statements.map(({ queryId }) => queryId),
      )
}${notes.map((note) => html`<p class="about">${note}</p>`)}`;
}

function sizesContent({ tables, growth }: PartTypes["sizes"]): Html {
  if ("reason" in tables) return html`<p class="absent">${tables.reason}</p>`;
  const grown = new Map(
    "reason" in growth ? [] : growth.tables.map((one) => [JSON.stringify([one.schema, one.table]), one]),
  );
  const total = (one: (typeof tables.largest)[number]) => one.heapBytes + one.toastBytes + one.indexBytes;
  const most = Math.max(1, ...tables.largest.map(total));
  return html`<p class="about">${countText(tables.tables, "table")}, ${bytesText(tables.bytes)} together, as VACUUM and ANALYZE last counted.${
    "reason" in growth ? html` Growth: ${growth.reason}.` : ""
  }</p>
${
  tables.largest.length === 0
    ? html`<p>No table has a size yet.</p>`
    : table(
        "Largest tables",
        ["Table", "", "Total", "Indexes", ...("reason" in growth ? [] : ["Growth"])],
        tables.largest.slice(0, 10).map((one) => {
          const growing = grown.get(JSON.stringify([one.schema, one.table]));
          return [
            html`${name(one.schema)}.${name(one.table)}`,
            bar([
              ["a", (one.heapBytes + one.toastBytes) / most],
              ["b", one.indexBytes / most],
            ]),
            bytesText(total(one)),
            bytesText(one.indexBytes),
            ...("reason" in growth ? [] : [growing === undefined ? "none" : grownText(growing)]),
          ];
        }),
      )
}`;
}
