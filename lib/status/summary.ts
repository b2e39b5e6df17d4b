import { severities } from "../checks/health.ts";
import { countText } from "../words.ts";
import type { Level, Parts, Status } from "./status.ts";

interface Remark {
  level: Exclude<Level, "fine">;
  text: string;
}

/** The worst of all parts, and what it is in a few sentences. What is not known is no good news. */
export function summarize(parts: Parts): Pick<Status, "level" | "summary"> {
  const remarks = [
    ...ofHealth(parts.health),
    ...ofAlarms(parts.alarms),
    ...ofRouting(parts.routing),
    ...ofBackups(parts),
    ...ofJobs(parts.jobs),
    ...ofOthers(parts),
  ];
  const level = remarks.some((one) => one.level === "trouble")
    ? "trouble"
    : remarks.length > 0
      ? "attention"
      : "fine";
  const first = remarks.toSorted((a, b) => Number(b.level === "trouble") - Number(a.level === "trouble"));
  return {
    level,
    summary:
      first.length === 0
        ? "Nothing is wrong that pgkeep can see."
        : first.map(({ text }) => `${text}.`).join(" "),
  };
}

function ofHealth(part: Parts["health"]): Remark[] {
  if (part.state === "absent") return [];
  if (part.state === "unknown") return [{ level: "trouble", text: "Health could not be asked" }];
  const { findings, notAssessable } = part.data.summary;
  const total = severities.reduce((sum, severity) => sum + findings[severity], 0);
  const counts = severities.filter((severity) => findings[severity] > 0);
  return [
    ...(total === 0
      ? []
      : [
          {
            level: findings.critical + findings.high > 0 ? ("trouble" as const) : ("attention" as const),
            text: `${countText(total, "finding")}: ${counts.map((severity) => `${findings[severity]} ${severity}`).join(", ")}`,
          },
        ]),
    ...(notAssessable < part.data.results.length || notAssessable === 0
      ? []
      : [{ level: "trouble" as const, text: "No health check could be assessed" }]),
  ];
}

function ofAlarms(part: Parts["alarms"]): Remark[] {
  if (part.state !== "known") return [];
  const on = part.data.alarms.filter(({ state }) => state === "ALARM");
  const loud = on.filter(({ silenced }) => silenced === null);
  if (on.length === 0) return [];
  const silenced = on.length - loud.length;
  return [
    {
      level: loud.some(({ severity }) => severity === "page") ? "trouble" : "attention",
      text: `${countText(on.length, "alarm")} on${silenced === 0 ? "" : `, ${silenced} of them silenced`}: ${[
        ...loud,
        ...on.filter((one) => one.silenced !== null),
      ]
        .slice(0, 3)
        .map(({ name }) => name)
        .join(", ")}${on.length > 3 ? " …" : ""}`,
    },
  ];
}

function ofRouting(part: Parts["routing"]): Remark[] {
  if (part.state !== "known") return [];
  const { document, stale } = part.data;
  if (stale) return [{ level: "attention", text: "The routing document is stale" }];
  const out = document.replicas.filter(({ state }) => state !== "serving");
  return out.length === 0
    ? []
    : [
        {
          level: "attention",
          text: `${countText(out.length, "replica")} not serving: ${out.map(({ name, state }) => `${name} ${state}`).join(", ")}`,
        },
      ];
}

function ofBackups({ backups, drill }: Parts): Remark[] {
  const remarks: Remark[] = [];
  if (backups.state === "known" && backups.data.recovery.newestBackupAt === null) {
    remarks.push({ level: "attention", text: "There is no usable backup" });
  }
  if (drill.state === "known" && drill.data.last?.outcome === "failed") {
    remarks.push({ level: "trouble", text: "The last restore drill failed" });
  }
  return remarks;
}

function ofJobs(part: Parts["jobs"]): Remark[] {
  if (part.state !== "known") return [];
  const failed = part.data.jobs.filter(({ last }) => last?.outcome === "failed");
  return failed.length === 0
    ? []
    : [{ level: "attention", text: `Last run failed: ${failed.map(({ job }) => job).join(", ")}` }];
}

const partWords: Readonly<Record<keyof Parts, string>> = {
  health: "health",
  alarms: "alarms",
  routing: "routing",
  backups: "backups",
  drill: "the last drill",
  jobs: "jobs",
  queries: "top queries",
  sizes: "sizes",
  sandbox: "the sandbox",
};

function ofOthers(parts: Parts): Remark[] {
  const unknown = (Object.keys(partWords) as (keyof Parts)[]).filter(
    (name) => name !== "health" && parts[name].state === "unknown",
  );
  return unknown.length === 0
    ? []
    : [{ level: "attention", text: `Not known: ${unknown.map((name) => partWords[name]).join(", ")}` }];
}
