import type { Page } from "./page.ts";

/** A page as one level of named values, for services that show fields. */
export function pageFields(page: Page): Record<string, string | number | boolean> {
  return {
    database: page.database,
    alarm: page.alarm,
    severity: page.severity,
    since: page.since,
    measured: page.measured.text,
    ...(page.measured.value === null ? {} : { value: page.measured.value }),
    threshold: page.measured.threshold,
    unit: page.measured.unit,
    hurts: page.blastRadius,
    [page.cause.from === "look" ? "cause" : "likelyCause"]: page.cause.text,
    ...Object.fromEntries(Object.entries(page.evidence).map(([name, value]) => [`evidence.${name}`, value])),
    ...(page.also.length === 0 ? {} : { also: page.also.join("\n") }),
    ...(page.unseen.length === 0 ? {} : { notSeen: page.unseen.join("\n") }),
    run: page.command,
    runbook: page.runbook,
  };
}

/** The runbook's address where it is one: a path in a repository is no link. */
export function runbookUrl({ runbook }: Page): string | undefined {
  return /^https?:\/\/[^\s<>"|]+$/.test(runbook) ? runbook : undefined;
}
