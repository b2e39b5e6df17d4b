import type { AlarmDefinition, MetricReference, Subject } from "../alarms/alarm.ts";
import type { AwsMetricName } from "../alarms/aws-metrics.ts";
import { catalogue } from "../alarms/catalogue.ts";
import { code, generateCommand, table } from "../config/reference.ts";
import { measures } from "../sandbox/measures/index.ts";
import { type Unmeasured, unmeasured } from "../sandbox/measures/unmeasured.ts";

const begin = `<!-- Generated from lib/sandbox/measures. Do not edit down to its end; run: ${generateCommand} -->`;
const end = "<!-- End of what is generated -->";

/**
 * The text of docs/verification.md with its part about metrics made anew.
 * @throws Error when the text has no such part
 */
export function withMeasureReference(text: string): string {
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`the text has no part between ${begin} and ${end}`);
  return `${text.slice(0, from)}${begin}\n\n${renderMeasures()}\n\n${text.slice(to)}`;
}

function renderMeasures(): string {
  const measured = measures.reduce((count, { metrics }) => count + metrics.length, 0);
  const rows = groupsOf(unmeasured).map(([metrics, { because, instead }]) => [
    metrics.map((metric) => code(metric)).join(", "),
    entriesReading(metrics).map(code).join(", "),
    because,
    instead,
  ]);
  return [
    `In the sandbox ${measured} of the metrics that AWS sends are measured each minute from real processes, files, logs and`,
    "PgBouncer; `lib/sandbox/measures` says of each how it differs from AWS's. Those below have no source there. Their",
    "alarms are evaluated like all others on series that are made up, beyond their limit and within it; beside that:",
    "",
    ...table(
      ["metric of AWS", "alarms that read it", "why it is not measured", "what was done instead"],
      rows,
    ),
  ].join("\n");
}

/** Metrics with the same reason together. */
function groupsOf(all: typeof unmeasured): [AwsMetricName[], Unmeasured][] {
  const groups = new Map<Unmeasured, AwsMetricName[]>();
  for (const [metric, why] of Object.entries(all) as [AwsMetricName, Unmeasured][]) {
    groups.set(why, [...(groups.get(why) ?? []), metric]);
  }
  return [...groups].map(([why, metrics]) => [metrics, why]);
}

function entriesReading(metrics: readonly AwsMetricName[]): string[] {
  return catalogue
    .filter((entry) =>
      referencesOf(entry).some(({ from, metric }) => from === "aws" && metrics.includes(metric)),
    )
    .map(({ name }) => name);
}

/** What an entry reads; some are about each job by itself, and read the same of any. */
export function referencesOf({ source }: Pick<AlarmDefinition, "source">): readonly MetricReference[] {
  const anyJob: Subject = { kind: "job", name: "any", periodSeconds: 60, recorded: true };
  const given = typeof source === "function" ? source(anyJob) : source;
  return given.kind === "metric" ? [given.metric] : [given.part, ...given.whole];
}
