import * as z from "zod";
import type { Json } from "../json.ts";
import type { AlarmNow, SandboxNow } from "./status.ts";

const moment = z.union([z.string(), z.null()]).optional();

/** As the sandbox's process gives it; more in it is no fault, and a process of another version may say less. */
const viewSchema = z.object({
  alarm: z.object({
    name: z.string(),
    entry: z.string(),
    title: z.string(),
    severity: z.enum(["page", "ticket"]),
    unit: z.string(),
    comparison: z.enum([">", ">=", "<", "<="]),
    threshold: z.number(),
    consequenceOf: z.array(z.string()).default([]),
  }),
  state: z.enum(["OK", "ALARM", "INSUFFICIENT_DATA"]),
  since: moment,
  value: z.number().nullish(),
  reason: z.string().default(""),
  suppressedBy: z
    .object({ by: z.string(), causes: z.array(z.string()).default([]), until: moment })
    .nullish(),
});

const answerSchema = z.object({
  faults: z.array(z.string()).default([]),
  workload: z.record(z.string(), z.unknown()).default({}),
  alarms: z.array(z.unknown()).optional(),
});

/** What of the running sandbox's answer the status shows; `alarms` is undefined when it evaluates none. */
export interface SandboxAnswer {
  sandbox: SandboxNow;
  alarms: AlarmNow[] | undefined;
}

/** @throws z.ZodError when the answer is none that this version understands */
export function readSandboxAnswer(answer: Json): SandboxAnswer {
  const { faults, workload, alarms } = answerSchema.parse(answer);
  return {
    sandbox: {
      faults,
      workload: Object.entries(workload).flatMap(([name, count]) =>
        typeof count === "number" ? [{ name, count }] : [],
      ),
    },
    alarms: alarms?.map((view) => alarmNow(viewSchema.parse(view))),
  };
}

const silencers: Readonly<Record<string, string>> = {
  alarm: "explained by another alarm",
  "wait-period": "waiting whether another alarm explains it",
  "extension-period": "the alarm that explained it has just ended",
};

function alarmNow(view: z.output<typeof viewSchema>): AlarmNow {
  const { alarm, state, since, value, reason, suppressedBy } = view;
  return {
    ...alarm,
    state,
    since: since ?? null,
    value: value ?? null,
    reason,
    silenced:
      suppressedBy == null
        ? null
        : {
            by: silencers[suppressedBy.by] ?? suppressedBy.by,
            causes: suppressedBy.causes,
            until: suppressedBy.until ?? null,
          },
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
