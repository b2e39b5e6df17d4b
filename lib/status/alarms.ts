import * as z from "zod";
import { PgkeepError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { AlarmNow, SandboxNow } from "./status.ts";

/** As the sandbox's process tells it; more in it is no fault. */
const alarmSchema = z.object({
  name: z.string(),
  entry: z.string(),
  title: z.string(),
  severity: z.enum(["page", "ticket"]),
  state: z.enum(["OK", "ALARM", "INSUFFICIENT_DATA"]),
  since: z.string().nullable(),
  value: z.number().nullable(),
  unit: z.string(),
  comparison: z.enum([">", ">=", "<", "<="]),
  threshold: z.number(),
  consequenceOf: z.array(z.string()).default([]),
  reason: z.string(),
  suppressedBy: z
    .object({ by: z.string(), causes: z.array(z.string()), until: z.string().nullable() })
    .nullable(),
});

const sandboxSchema = z.object({
  faults: z.array(z.string()),
  workload: z.record(z.string(), z.unknown()).default({}),
});

const alarmsSchema = z.object({ alarms: z.array(alarmSchema).optional() });

/** What the running sandbox says of itself. @throws PgkeepError `internal` for another version's answer */
export function readSandbox(answer: Json): SandboxNow {
  const { faults, workload } = understood(sandboxSchema, answer);
  return {
    faults,
    workload: Object.entries(workload).flatMap(([name, count]) =>
      typeof count === "number" ? [{ name, count }] : [],
    ),
  };
}

/** Its alarms; undefined when it evaluates none. @throws PgkeepError `internal` for another version's answer */
export function readAlarms(answer: Json): AlarmNow[] | undefined {
  return understood(alarmsSchema, answer).alarms?.map(alarmNow);
}

function understood<T>(schema: z.ZodType<T>, answer: Json): T {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new PgkeepError("internal", "the sandbox answers in a form that this pgkeep does not know", {
    remedy: "use the pgkeep that started the sandbox",
    cause: parsed.error,
  });
}

const silencers: Readonly<Record<string, string>> = {
  alarm: "explained by another alarm",
  "wait-period": "waiting whether another alarm explains it",
  "extension-period": "the alarm that explained it has just ended",
};

function alarmNow({ suppressedBy, ...alarm }: z.output<typeof alarmSchema>): AlarmNow {
  return {
    ...alarm,
    silenced:
      suppressedBy === null ? null : { ...suppressedBy, by: silencers[suppressedBy.by] ?? suppressedBy.by },
  };
}

const stateOrder: Readonly<Record<AlarmNow["state"], number>> = { ALARM: 0, INSUFFICIENT_DATA: 1, OK: 2 };

/** What is on comes first, pages before tickets, the silenced last of each. */
export function sortAlarms(alarms: readonly AlarmNow[]): AlarmNow[] {
  const rank = (alarm: AlarmNow) =>
    100 * stateOrder[alarm.state] +
    10 * (alarm.state === "ALARM" && alarm.silenced !== null ? 1 : 0) +
    (alarm.severity === "page" ? 0 : 1);
  return [...alarms].sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
}
