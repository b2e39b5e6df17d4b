import { type Area, areas, type ReviewFinding } from "../../checks/review-check.ts";
import { badge, pair } from "../../html/elements.ts";
import { code, type Html, html, moment, name, numberText, type Part } from "../../html/markup.ts";
import type { Json } from "../../json.ts";
import { bytesText, countText } from "../../words.ts";
import type { KnownFinding } from "../compare.ts";
import type { ReviewReport } from "../run.ts";
import { whatToDo } from "../summary.ts";

/** What became of a finding since the earlier review. */
export const changes = {
  new: "New",
  seen: "Seen for the first time",
  still: "Still there",
  fixed: "Fixed",
  unknown: "Could not be looked at again",
} as const;

export type Change = keyof typeof changes;

/** Identifiers of the page's elements: of its own making, never of a finding's key. */
export class Anchors {
  private readonly ids = new Map<ReviewFinding, string>();
  of(finding: ReviewFinding): string {
    const known = this.ids.get(finding);
    if (known !== undefined) return known;
    const id = `finding-${this.ids.size + 1}`;
    this.ids.set(finding, id);
    return id;
  }
}

/** Every finding in full, by area, and those of the earlier review that are not there any more. */
export function findingGroups(report: ReviewReport, anchors: Anchors): Html {
  const areaOf = new Map(report.results.map(({ check, area }) => [check, area]));
  const changeOf = changesByKey(report);
  const byArea = new Map<Area, ReviewFinding[]>();
  for (const finding of whatToDo(report)) {
    const area = areaOf.get(finding.check) ?? "integrity";
    const known = byArea.get(area);
    if (known === undefined) byArea.set(area, [finding]);
    else known.push(finding);
  }
  const { comparison } = report;
  return html`${(Object.keys(areas) as Area[]).map((area) => {
    const findings = byArea.get(area);
    return findings === undefined
      ? ""
      : group(
          `area-${area}`,
          areas[area],
          findings.map((finding) => whole(finding, area, anchors.of(finding), changeOf.get(finding.key))),
        );
  })}${
    comparison === undefined
      ? ""
      : (["fixed", "unknown"] as const).map((change) =>
          comparison[change].length === 0
            ? ""
            : group(
                `change-${change}`,
                html`${changes[change]} (review of ${moment(comparison.since)})`,
                comparison[change].map((finding, index) =>
                  past(finding, areaOf.get(finding.check), change, `${change}-${index + 1}`),
                ),
              ),
        )
  }`;
}

/** The changes of the findings that are there now. */
function changesByKey({ comparison }: ReviewReport): ReadonlyMap<string, Change> {
  const found = new Map<string, Change>();
  for (const { key } of comparison?.new ?? []) found.set(key, "new");
  for (const { key } of comparison?.newlySeen ?? []) found.set(key, "seen");
  for (const { key } of comparison?.still ?? []) found.set(key, "still");
  return found;
}

function group(id: string, title: Part, items: readonly Html[]): Html {
  return html`<section class="group" aria-labelledby="${id}"><h3 id="${id}">${title} <span class="count">${items.length}</span></h3>
${items}</section>\n`;
}

function head(finding: KnownFinding, id: string, change: Change | undefined): Html {
  return html`${badge(finding.severity)} <h4 id="${id}-title">${finding.title}</h4>${
    change === undefined || change === "still"
      ? ""
      : html` <span class="change ${change}">${changes[change]}</span>`
  }`;
}

/** Attributes that the filters read. */
function marks({ severity }: KnownFinding, area: Area | undefined, change: Change | undefined): Html {
  return html`data-severity="${severity}" data-area="${area ?? ""}" data-change="${change ?? ""}"`;
}

function past(
  finding: KnownFinding & { reason?: string },
  area: Area | undefined,
  change: Change,
  id: string,
): Html {
  return html`<article class="finding past" aria-labelledby="${id}-title" ${marks(finding, area, change)}>
<div class="summary">${head(finding, id, change)}</div>
<p class="about"><code>${finding.key}</code>${finding.reason === undefined ? "" : html`: ${finding.reason}`}</p></article>\n`;
}

function whole(finding: ReviewFinding, area: Area, id: string, change: Change | undefined): Html {
  const { remediation, example, fix } = finding;
  return html`<article class="finding" id="${id}" aria-labelledby="${id}-title" ${marks(finding, area, change)}><details>
<summary>${head(finding, id, change)}<span class="about">${finding.check} · ${finding.confidence} · effort: ${finding.effort}</span></summary>
<div class="body">
<p class="impact">${finding.impact}</p>
<h5>What to do</h5>
${code("What to do", remediation.sql)}
<dl>
${pair("Locks", remediation.lock)}
${pair("Rollback", code("Rollback", remediation.rollback))}
</dl>
<h5>Why</h5>
<dl>
${pair("Location", locationOf(finding.object))}
${pair("Affects", finding.blastRadius)}
${pair("Root cause", finding.rootCause)}
${pair("Prevention", finding.prevention)}
${pair("Confidence", finding.confidence)}
${finding.since === undefined ? "" : pair("Since", moment(finding.since))}
${finding.origin === undefined ? "" : pair("In the application", finding.origin)}
${pair("Key", html`<code>${finding.key}</code>`)}
</dl>
<h5>Evidence</h5>
<dl class="evidence">${Object.entries(finding.evidence).map(([key, value]) => pair(wordsOf(key), evidenceOf(key, value)))}</dl>
${
  example === undefined
    ? ""
    : html`<h5>Example</h5><div class="sides"><div><h6>Before</h6>${code("Before", example.before)}</div><div><h6>After</h6>${code(
        "After",
        example.after,
      )}</div></div>`
}${
  fix === undefined
    ? ""
    : html`<h5>Migration</h5><div class="sides"><div><h6>Up</h6>${code("Migration up", fix.up.join("\n"))}</div><div><h6>Down</h6>${
        fix.down.length === 0
          ? html`<p>Nothing to take back.</p>`
          : code("Migration down", fix.down.join("\n"))
      }</div></div>
${fix.proof.length === 0 ? "" : html`<h6>Proof</h6>${code("Proof", fix.proof.join("\n"))}`}`
}
</div></details></article>\n`;
}

const parts = {
  schema: "schema",
  table: "table",
  index: "index",
  column: "column",
  role: "role",
  pid: "process",
  name: "",
};

function locationOf(object: ReviewFinding["object"]): Html {
  const found = Object.entries(parts).flatMap(([key, word]) => {
    const value = object[key as keyof typeof parts];
    return value === undefined ? [] : [html`${word === "" ? "" : `${word} `}${name(String(value))}`];
  });
  return html`${found.map((part, index) => html`${index === 0 ? "" : ", "}${part}`)}`;
}

/** `shareOfTimePercent` → `share of time percent`. */
function wordsOf(key: string): string {
  return /^[a-zA-Z]+$/.test(key) ? key.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`) : key;
}

const listed = 50;

/** A value of the evidence. */
function evidenceOf(key: string, value: Json | undefined): Part {
  if (value === null || value === undefined) return "unknown";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") {
    return /bytes$/i.test(key) ? `${bytesText(value)} (${numberText(value)} bytes)` : numberText(value);
  }
  if (typeof value === "string") {
    return value.includes("\n") || value.length > 200 ? code(wordsOf(key), value) : value;
  }
  if (Array.isArray(value)) {
    if (value.length === 0) return "none";
    const more = value.length - listed;
    return html`<ul>${value.slice(0, listed).map((one) => html`<li>${evidenceOf(key, one)}</li>`)}${
      more > 0 ? html`<li>and ${countText(more, "more", "more")}</li>` : ""
    }</ul>`;
  }
  return html`<dl class="evidence">${Object.entries(value).map(([inner, one]) => pair(wordsOf(inner), evidenceOf(inner, one)))}</dl>`;
}
