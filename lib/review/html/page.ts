import type { Severity } from "../../checks/check.ts";
import { severities } from "../../checks/health.ts";
import { type Area, areas, type ReviewFinding } from "../../checks/review-check.ts";
import { badge, pair } from "../../html/elements.ts";
import { type Html, html, moment, name } from "../../html/markup.ts";
import { wholePage } from "../../html/page.ts";
import { countText, durationText } from "../../words.ts";
import type { ReviewReport } from "../run.ts";
import { bySeverity, notListed, obstacles, summarize, whatToDo } from "../summary.ts";
import type { SuppressionsReport } from "../suppressions.ts";
import { charts } from "./charts.ts";
import { Anchors, changes, findingGroups } from "./findings.ts";
import { script } from "./script.ts";
import { style } from "./style.ts";

/** What has to be mended before a release. */
const blockingSeverities: readonly Severity[] = ["critical", "high"];
/** Tasks shown before the list has to be opened. */
const firstTasks = 10;

interface Section {
  id: string;
  title: string;
  count?: number;
  content: Html;
}

/**
 * The whole report as one file that asks nobody for anything: style, script and pictures are in it, and its policy
 * forbids everything else, so that whatever a name or a statement holds stays text.
 */
export function reviewPage(report: ReviewReport): string {
  const anchors = new Anchors();
  const sections = sectionsOf(report, anchors);
  const title = html`Review of ${name(report.database)}`;
  return wholePage({
    title: `Review of ${report.database}, ${report.startedAt.slice(0, 10)}`,
    style,
    script,
    body: html`<a class="skip" href="#findings">Skip to the findings</a>
<header>
<h1>${title}</h1>
<p>PostgreSQL ${report.server.version}, ${report.server.isStandby ? "standby" : "primary"} · ${moment(report.startedAt)}</p>
<nav aria-label="Sections of this report"><ul>
${sections.map(
  ({ id, title, count }) =>
    html`<li><a href="#${id}">${title}${count === undefined ? "" : html` <span class="count">${count}</span>`}</a></li>\n`,
)}</ul></nav>
</header>
<main>
${sections.map(
  ({ id, title, content }) =>
    html`<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>\n${content}\n</section>\n`,
)}</main>
<footer><p>Written by pgkeep. Literals of statements are left out. The same as JSON: <code>pgkeep review --format json</code>.</p></footer>`,
  });
}

function sectionsOf(report: ReviewReport, anchors: Anchors): Section[] {
  const findings = whatToDo(report);
  const good = report.results.flatMap((result) => result.good);
  const unseen = obstacles(report);
  return [
    { id: "summary", title: "Summary", content: summary(report) },
    { id: "first", title: "What to do first", content: tasks(findings, anchors) },
    ...(report.overview === undefined
      ? []
      : [{ id: "pictures", title: "Size, load, cache and growth", content: charts(report.overview) }]),
    {
      id: "findings",
      title: "Findings",
      count: findings.length,
      content: html`${filters(report, findings)}<div id="groups">${findingGroups(report, anchors)}</div>
<p id="nothing"${findings.length === 0 ? "" : html` hidden`}>${
        findings.length === 0 ? "Nothing was found." : "No finding matches the filters."
      }</p>`,
    },
    {
      id: "good",
      title: "Done well",
      count: good.length,
      content:
        good.length === 0
          ? html`<p>No check had something to praise.</p>`
          : html`<ul class="good">${good.map((sentence) => html`<li>${sentence}</li>\n`)}</ul>`,
    },
    {
      id: "unseen",
      title: "Not assessed",
      count: unseen.size,
      content:
        unseen.size === 0
          ? html`<p>Every check could see what it asked for.</p>`
          : html`<p>Silence of these checks says nothing. Each reason comes with what would change it.</p>
<dl class="wide">${[...unseen].map(([reason, checks]) => pair(reason, html`<code>${checks.join(", ")}</code>`))}</dl>`,
    },
    ...(report.suppressions === undefined
      ? []
      : [{ id: "suppressed", title: "Suppressed", ...suppressed(report, report.suppressions) }]),
    { id: "server", title: "Server and window", content: server(report) },
    { id: "checks", title: "Checks asked", count: report.results.length, content: checksTable(report) },
  ];
}

function summary(report: ReviewReport): Html {
  const { findings, passed, withFindings, notAssessable } = summarize(report);
  const total = Object.values(findings).reduce((sum, count) => sum + count, 0);
  const { comparison } = report;
  const notes = [
    ...(report.incomplete === undefined ? [] : [html`<strong>Not complete:</strong> ${report.incomplete}`]),
    ...(report.replicasUnseen ?? []).map(
      ({ name: replica, reason }) =>
        html`<strong>Not asked:</strong> the replica ${name(replica)}: ${reason}`,
    ),
    ...notListed(report).map(
      ({ check, count }) => html`<strong>Not listed:</strong> ${count} more of ${check}, with less weight`,
    ),
  ];
  return html`<p class="verdict">${
    total === 0 ? "Nothing was found" : `${countText(total, "finding")}: ${bySeverity(findings)}`
  }. ${passed} of ${countText(report.results.length, "check")} passed${
    notAssessable === 0 ? "" : `, ${notAssessable} could not be assessed`
  }.</p>
${notes.map((note) => html`<p class="note" role="note">${note}</p>`)}
<dl class="tiles">
${severities.map((severity) => tile(severity, findings[severity], severity))}
${tile("checks with findings", withFindings)}${tile("checks passed", passed)}${tile("not assessed", notAssessable)}
</dl>${
    comparison === undefined
      ? ""
      : html`<p>Since the review of ${moment(comparison.since)}: <strong>${comparison.new.length}</strong> new, <strong>${
          comparison.fixed.length
        }</strong> fixed, <strong>${comparison.still.length}</strong> still there${
          comparison.newlySeen.length === 0
            ? ""
            : `, ${comparison.newlySeen.length} seen for the first time because a check could not see everything then`
        }${
          comparison.unknown.length === 0 ? "" : `, ${comparison.unknown.length} could not be looked at again`
        }.</p>`
  }`;
}

function tile(term: string, count: number, severity?: Severity): Html {
  return html`<div class="tile ${severity ?? ""} ${count === 0 ? "none" : ""}"><dt>${term}</dt><dd>${count}</dd></div>\n`;
}

/** Findings of one check, severity and confidence are one task. */
function tasks(findings: readonly ReviewFinding[], anchors: Anchors): Html {
  if (findings.length === 0) return html`<p>Nothing: ask again after the next release.</p>`;
  const [blocking, others] = [true, false].map((wanted) => {
    const found = new Map<string, ReviewFinding[]>();
    for (const finding of findings) {
      if (blockingSeverities.includes(finding.severity) !== wanted) continue;
      const key = `${finding.severity} ${finding.confidence} ${finding.check}`;
      const known = found.get(key);
      if (known === undefined) found.set(key, [finding]);
      else known.push(finding);
    }
    return [...found.values()];
  });
  return html`<h3>Deployment blockers</h3>
<p class="about">Critical is the loss of data or an outage near; high is to be mended before it hurts.</p>
${taskList(blocking ?? [], anchors)}<h3>Improvements</h3>${taskList(others ?? [], anchors)}`;
}

function taskList(groups: readonly (readonly ReviewFinding[])[], anchors: Anchors): Html {
  if (groups.length === 0) return html`<p>None.</p>`;
  const items = groups.flatMap(([first, ...others]) =>
    first === undefined
      ? []
      : [
          html`<li>${badge(first.severity)} <a href="#${anchors.of(first)}">${first.title}</a>${
            others.length === 0 ? "" : html` <span class="more">and ${others.length} more of the same</span>`
          }<span class="about">${first.check} · ${first.confidence} · effort: ${first.effort}${others.length === 0 ? "" : " each"}</span></li>\n`,
        ],
  );
  const rest = items.slice(firstTasks);
  return html`<ol class="tasks">${items.slice(0, firstTasks)}</ol>${
    rest.length === 0
      ? ""
      : html`<details class="rest"><summary>${countText(rest.length, "more task")}</summary><ol class="tasks" start="${
          firstTasks + 1
        }">${rest}</ol></details>`
  }`;
}

/** Shown by the script; without one all findings are there. */
function filters(report: ReviewReport, findings: readonly ReviewFinding[]): Html {
  const counts = summarize(report).findings;
  const areaOf = new Map(report.results.map(({ check, area }) => [check, area]));
  const inArea = (area: Area) => findings.filter(({ check }) => areaOf.get(check) === area).length;
  const { comparison } = report;
  return html`<form id="filters" role="search" aria-label="Filter the findings" hidden>
<fieldset><legend>Severity</legend>${severities.map(
    (severity) =>
      html`<label><input type="checkbox" name="severity" value="${severity}" checked> ${severity} <span class="count">${counts[severity]}</span></label>\n`,
  )}</fieldset>
<label>Area <select name="area"><option value="">All areas</option>${(Object.keys(areas) as Area[])
    .filter((area) => inArea(area) > 0)
    .map((area) => html`<option value="${area}">${areas[area]} (${inArea(area)})</option>`)}</select></label>
${
  comparison === undefined
    ? ""
    : html`<label>Change <select name="change"><option value="">All</option>${(
        [
          ["new", comparison.new],
          ["seen", comparison.newlySeen],
          ["still", comparison.still],
          ["fixed", comparison.fixed],
          ["unknown", comparison.unknown],
        ] as const
      ).map(
        ([change, those]) => html`<option value="${change}">${changes[change]} (${those.length})</option>`,
      )}</select></label>`
}
<label class="text">Text <input type="search" name="text" autocomplete="off" spellcheck="false" placeholder="table, check, statement …"></label>
<div class="buttons"><button type="button" id="open">Open all shown</button> <button type="button" id="close">Close all</button> <button type="reset">Reset filters</button></div>
<p id="shown" role="status" aria-live="polite"></p>
</form>`;
}

/** What the file of suppressions accepts, and what is to be done about the file. */
function suppressed(
  { results }: ReviewReport,
  { expired, stale, endless }: SuppressionsReport,
): Pick<Section, "count" | "content"> {
  const accepted = results
    .flatMap(({ findings }) => findings)
    .flatMap(({ suppressed, ...finding }) => (suppressed === undefined ? [] : [{ finding, ...suppressed }]));
  const lists: [string, SuppressionsReport["stale"]][] = [
    ["Over, so that what they match counts again", expired],
    ["Match nothing any more, and are to be deleted", stale],
    ["Without an end, and are to get one", endless],
  ];
  return {
    count: accepted.length,
    content: html`${
      accepted.length === 0
        ? html`<p>No finding is suppressed.</p>`
        : html`<ul class="plain">${accepted.map(
            ({ finding, reason, expires }) =>
              html`<li>${badge(finding.severity)} ${finding.title}<span class="about"><strong>${reason}</strong>${
                expires === undefined ? "" : `, until ${expires}`
              } · <code>${finding.key}</code></span></li>\n`,
          )}</ul>`
    }${lists.map(([head, list]) =>
      list.length === 0
        ? ""
        : html`<h3>${head}</h3><ul class="plain">${list.map(
            ({ key, reason, expires }) =>
              html`<li><code>${key}</code>: ${reason}${expires === undefined ? "" : ` (until ${expires})`}</li>\n`,
          )}</ul>`,
    )}`,
  };
}

function server(report: ReviewReport): Html {
  const { window, replicas } = report;
  return html`<dl>
${pair("Database", name(report.database))}
${pair("Server", `PostgreSQL ${report.server.version}, ${report.server.isStandby ? "standby" : "primary"}`)}
${pair("Running since", moment(report.server.startedAt))}
${pair("Asked by", html`role ${name(report.user)}`)}
${pair("Review began", html`${moment(report.startedAt)} and took ${durationText(report.seconds)}`)}
${pair(
  "Statistics count since",
  window.statisticsSince === null
    ? "unknown: the server does not say"
    : html`${moment(window.statisticsSince)}${window.seconds === null ? "" : `, ${durationText(window.seconds)} before`}`,
)}
${pair(
  "Replicas asked",
  replicas.length === 0
    ? "none"
    : html`${replicas.map((one, index) => html`${index === 0 ? "" : ", "}${name(one)}`)}`,
)}
</dl>`;
}

const verdicts = { pass: "passed", findings: "findings", "not-assessable": "not assessed" } as const;

function checksTable({ results }: ReviewReport): Html {
  return html`<details class="rest"><summary>All checks with their verdicts</summary>
<div class="scroll" tabindex="0" role="group" aria-label="All checks"><table><caption class="unseen">All checks</caption>
<thead><tr><th scope="col">Check</th><th scope="col">Question</th><th scope="col">Area</th><th scope="col">Verdict</th><th scope="col">Findings</th><th scope="col">Time</th></tr></thead>
<tbody>${results.map(
    ({ check, title, area, verdict, reason, findings, durationMs }) =>
      html`<tr><th scope="row"><code>${check}</code></th><td class="words">${title}</td><td class="words">${areas[area]}</td><td>${verdicts[verdict]}${
        verdict === "findings" && reason !== undefined ? ", in part" : ""
      }</td><td>${findings.length}</td><td>${Math.round(durationMs)} ms</td></tr>\n`,
  )}</tbody></table></div></details>`;
}
