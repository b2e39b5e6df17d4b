import type { DatabaseConfig } from "../../config/schema.ts";
import type { Alarm, AlarmSeverity, Comparison } from "../alarm.ts";
import type { Evidence, Look } from "./look.ts";
import { measureText } from "./measure-text.ts";
import { cutTo, plain } from "./plain.ts";

/** What a person gets when an alarm fires, and when it is over. Plain data: safe to show, without secrets or literals. */
export interface Page {
  /** `pgkeep/<database>/<alarm>`: the same when the alarm fires and when it is over. */
  key: string;
  state: "alarm" | "ok";
  severity: AlarmSeverity;
  /** Key of the database in the configuration. */
  database: string;
  alarm: string;
  /** The entry of the catalogue, and heading in the runbook. */
  entry: string;
  /** One sentence: what happened. */
  title: string;
  /** Since when the alarm has been in this state, ISO 8601. */
  since: string;
  measured: Measured;
  /** Which database and which roles it hurts. */
  blastRadius: string;
  cause: { text: string; from: "look" | "catalogue" };
  /** What the look found, as fields. */
  evidence: Evidence;
  /** What else the look found, one sentence each. */
  also: readonly string[];
  /** What the look could not see, and why. */
  unseen: readonly string[];
  /** Where the runbook says what to do. */
  runbook: string;
  /** The one command to run next. */
  command: string;
}

export interface Measured {
  /** Newest value; null when there is none. */
  value: number | null;
  threshold: number;
  unit: Alarm["unit"];
  comparison: Comparison;
  /** `12, limit 10 or more`. */
  text: string;
}

/** The change of an alarm that somebody is told about. */
export interface Transition {
  state: Page["state"];
  /** When the alarm came into this state. */
  since: Date;
  /** Newest value of what the alarm watches; absent when there is no datum. */
  value?: number | undefined;
}

/** What a page has of an alarm. */
export type PagedAlarm = Omit<Alarm, "source" | "why">;

export interface PageRequest {
  alarm: PagedAlarm;
  /** Of the database; anything with these has them. */
  config: {
    key: string;
    database: Pick<DatabaseConfig["database"], "name">;
    roles: Pick<DatabaseConfig["roles"], "prefix">;
  };
  transition: Transition;
  /** Absent when nobody looked. */
  look?: Look | undefined;
  /** Where docs/runbook.md can be read; the entry's heading is added. */
  runbook: string;
}

/** Longest sentence of a page; longest value of a field: a phone shows no more, and nobody reads it. */
const sentenceCharacters = 600;
const valueCharacters = 500;
const shownFields = 24;
const shownSentences = 4;

/** What somebody is told. Names from the database are made harmless to show; nothing is left out of the identity. */
export function composePage(request: PageRequest): Page {
  const { alarm, config, transition, runbook } = request;
  const look = transition.state === "ok" ? undefined : request.look;
  const [first, ...others] = look?.findings ?? [];
  const fill = (text: string) => filled(text, alarm, config);
  const hurts = `database ${plain(config.key)}: ${fill(alarm.hurts)}`;
  return {
    key: `pgkeep/${config.key}/${alarm.name}`,
    state: transition.state,
    severity: alarm.severity,
    database: config.key,
    alarm: alarm.name,
    entry: alarm.entry,
    title: sentence(`${config.key}: ${alarm.title}`),
    since: transition.since.toISOString(),
    measured: measured(alarm, transition.value),
    blastRadius: sentence(
      first?.hurts === undefined || first.hurts === "" ? hurts : `${hurts}; now ${first.hurts}`,
    ),
    cause:
      first === undefined
        ? { text: sentence(alarm.likelyCause), from: "catalogue" }
        : { text: sentence(first.text), from: "look" },
    evidence: safeFields(first?.evidence ?? {}),
    also: others.slice(0, shownSentences).map(({ text }) => sentence(text)),
    unseen: (look?.unseen ?? []).slice(0, shownSentences).map(sentence),
    runbook: `${runbook}#${alarm.entry}`,
    command: fill(alarm.command),
  };
}

function measured(alarm: PagedAlarm, value: number | undefined): Measured {
  const { threshold, unit, comparison } = alarm;
  return {
    value: value !== undefined && Number.isFinite(value) ? value : null,
    threshold,
    unit,
    comparison,
    text: measureText({ value, threshold, unit, comparison }),
  };
}

function filled(
  text: string,
  { subject }: PagedAlarm,
  { key, database, roles }: PageRequest["config"],
): string {
  const prefix = roles.prefix ?? database.name;
  const values: Record<string, string> = {
    subject: subject?.name ?? "",
    key,
    app: `${prefix}_app`,
    reporting: `${prefix}_reporting`,
  };
  return text.replace(/\{(\w+)\}/g, (whole, name: string) =>
    values[name] === undefined ? whole : plain(values[name]),
  );
}

function sentence(text: string): string {
  return cutTo(sentenceCharacters, plain(text));
}

function safeFields(evidence: Evidence): Evidence {
  return Object.fromEntries(
    Object.entries(evidence)
      .slice(0, shownFields)
      .map(([name, value]) => [
        name.replace(/[^\w.-]/g, "_"),
        typeof value === "string" ? cutTo(valueCharacters, plain(value)) : value,
      ]),
  );
}
