import type { Alarm, MissingData } from "../../../lib/alarms/alarm.ts";
import type { SeriesId, SeriesStore } from "../../../lib/sandbox/alarms/series.ts";

export const someSeries: SeriesId = { from: "pgkeep", metric: "BlockedSessions", dimensions: {} };

/** An alarm on one gauge, beyond its limit above 10, that tells people itself. */
export function makeAlarm(given: Partial<Alarm> = {}): Alarm {
  return {
    name: "some-alarm",
    entry: "some-alarm",
    severity: "page",
    question: "up",
    title: "Something is wrong",
    source: { kind: "metric", metric: { from: "pgkeep", metric: "BlockedSessions", dimensions: {} } },
    statistic: "Maximum",
    unit: "Count",
    timing: { periodSeconds: 60, evaluationPeriods: 3, datapointsToAlarm: 3 },
    comparison: ">",
    threshold: 10,
    missingData: "missing",
    why: "It hurts.",
    likelyCause: "Somebody did it.",
    hurts: "Everybody.",
    look: [],
    command: "pgkeep health",
    consequenceOf: [],
    ...given,
  };
}

/** M of N periods of a minute, or of the given length. */
export function timing(datapointsToAlarm: number, evaluationPeriods: number, periodSeconds = 60) {
  return { periodSeconds, evaluationPeriods, datapointsToAlarm };
}

export const treatments: readonly MissingData[] = ["missing", "ignore", "breaching", "notBreaching"];

/**
 * Writes a row of AWS's tables, oldest first: `0` is within the limit, `X` beyond it, `-` missing. The newest is of
 * the period before `endMilliseconds`, each in the middle of its period.
 */
export function addPattern(
  store: SeriesStore,
  pattern: string,
  { endMilliseconds, periodSeconds = 60 }: { endMilliseconds: number; periodSeconds?: number },
  id: SeriesId = someSeries,
): void {
  const points = pattern.split(" ");
  points.forEach((point, index) => {
    const atMilliseconds = endMilliseconds - (points.length - index - 0.5) * periodSeconds * 1000;
    if (point !== "-") store.add(id, { atMilliseconds, value: point === "X" ? 100 : 0 });
  });
}
