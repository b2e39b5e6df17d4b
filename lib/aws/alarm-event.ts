import { PgkeepError } from "../errors.ts";

/** What CloudWatch tells a function that is an alarm's action. */
export interface AlarmEvent {
  /** As CloudWatch has it: `pgkeep-shop-cpu-high`, or with `-unexplained` of a composite alarm. */
  alarmName: string;
  state: "ALARM" | "OK" | "INSUFFICIENT_DATA";
  /** When it came into this state. */
  since: Date;
  /** In CloudWatch's words. */
  reason: string;
  /** Newest value that the state was found from; of composite alarms there is none. */
  value?: number;
}

interface RawState {
  value?: unknown;
  reason?: unknown;
  reasonData?: unknown;
  timestamp?: unknown;
}

const states = new Set(["ALARM", "OK", "INSUFFICIENT_DATA"]);

/**
 * Reads the event of "Invoke a Lambda function from an alarm" (Amazon CloudWatch User Guide), of metric and composite
 * alarms. @throws PgkeepError `usage` for what is no such event
 */
export function readAlarmEvent(event: unknown): AlarmEvent {
  const { alarmName, state } = objectOf(objectOf(event).alarmData) as {
    alarmName?: unknown;
    state?: RawState;
  };
  const { value, reason, reasonData, timestamp } = objectOf(state) as RawState;
  const since = momentOf(timestamp);
  if (typeof alarmName !== "string" || !states.has(String(value)) || since === undefined) {
    throw new PgkeepError("usage", "this is not the event of an alarm of CloudWatch", {
      remedy: "invoke this function as the action of an alarm",
    });
  }
  const newest = newestValue(reasonData);
  return {
    alarmName,
    state: value as AlarmEvent["state"],
    since,
    reason: typeof reason === "string" ? reason : "",
    ...(newest === undefined ? {} : { value: newest }),
  };
}

/** The newest evaluated datapoint of a state's data, which is JSON in a text. */
export function newestValue(reasonData: unknown): number | undefined {
  if (typeof reasonData !== "string") return undefined;
  let data: unknown;
  try {
    data = JSON.parse(reasonData);
  } catch {
    return undefined;
  }
  const points = objectOf(data).evaluatedDatapoints;
  const measured = (Array.isArray(points) ? points : []).flatMap((point: unknown) => {
    const { timestamp, value } = objectOf(point);
    return typeof value === "number" ? [{ at: momentOf(timestamp)?.getTime() ?? 0, value }] : [];
  });
  return measured.sort((a, b) => b.at - a.at)[0]?.value;
}

/** `2023-08-04T12:36:15.490+0000`. */
function momentOf(text: unknown): Date | undefined {
  if (typeof text !== "string") return undefined;
  const moment = new Date(text.replace(/([+-]\d{2})(\d{2})$/, "$1:$2"));
  return Number.isNaN(moment.getTime()) ? undefined : moment;
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
