import type { Alarm } from "../../alarms/alarm.ts";
import { errorMessage } from "../../errors.ts";
import type { Json } from "../../json.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Notification, Notifications } from "../../ports/notifications.ts";
import type { SandboxState } from "../state.ts";
import { metricsTail } from "./metrics-tail.ts";
import { memorySeries, type SeriesId } from "./series.ts";
import { type AlarmView, type Transition, watchAlarms } from "./watch.ts";

export interface AlarmWatchOptions {
  state: Pick<SandboxState, "metricsFile">;
  alarms: readonly Alarm[];
  /** What AWS would have sent for this minute. */
  measure(): Promise<readonly { id: SeriesId; value: number }[]>;
  notifications: Notifications;
  /** What a person gets. Default: the alarm in plain words, without a look at the database. */
  describe?: (transition: Transition) => Notification | Promise<Notification>;
  clock: Clock;
  signal: AbortSignal;
  onTransition?: (transition: Transition) => void;
  /** What went wrong while measuring or telling; the next minute is tried all the same. */
  onProblem?: (text: string) => void;
}

export interface LiveAlarms {
  view(): readonly AlarmView[];
  /** Waits for the minute that is under way. Twice is fine. */
  stop(): Promise<void>;
}

const minute = 60_000;
/** What is measured so shortly before a minute ends is evaluated with it. */
const measuredBeforeEnd = 5_000;

/**
 * Watches the alarms of a running sandbox by its own clock: near the end of each minute what AWS would measure is
 * measured, then pgkeep's own metrics of the minute are read and every alarm is evaluated. Begin it when every job
 * has run once: a job that has never succeeded counts as absent.
 */
export function startAlarmWatch(options: AlarmWatchOptions): LiveAlarms {
  const { clock, describe = describePlainly, onProblem = () => {} } = options;
  const store = memorySeries();
  const tail = metricsTail(options.state.metricsFile, store);
  const watch = watchAlarms({
    alarms: options.alarms,
    store,
    notify: async (transition) => {
      options.onTransition?.(transition);
      await options.notifications.send(await describe(transition));
    },
  });
  const trying = async (what: string, work: () => Promise<unknown>) => {
    try {
      await work();
    } catch (error) {
      const causes = error instanceof AggregateError ? error.errors : [error];
      onProblem(`${what}: ${causes.map(errorMessage).join("; ")}`);
    }
  };
  const measure = () =>
    trying("measuring for the alarms", async () => {
      for (const { id, value } of await options.measure()) {
        store.add(id, { atMilliseconds: clock.now().getTime(), value });
      }
    });

  const ending = new AbortController();
  const signal = AbortSignal.any([options.signal, ending.signal]);
  const sleepUntil = async (milliseconds: number) => {
    const left = milliseconds - clock.now().getTime();
    if (left > 0) await clock.sleep(left, signal);
    signal.throwIfAborted();
  };
  const run = async () => {
    await measure();
    for (;;) {
      const end = (Math.floor(clock.now().getTime() / minute) + 1) * minute;
      await sleepUntil(end - measuredBeforeEnd);
      await measure();
      await sleepUntil(end);
      await trying("reading metrics for the alarms", () => tail.read());
      await trying("evaluating the alarms", () => watch.evaluate(new Date(end)));
    }
  };
  const running = run()
    .catch((error: unknown) => {
      if (!signal.aborted) onProblem(`the alarms are no longer evaluated: ${errorMessage(error)}`);
    })
    .finally(() => tail.close());
  return {
    view: () => watch.view(),
    stop: async () => {
      ending.abort();
      await running;
    },
  };
}

/** The alarm as the catalogue has it, with what was measured. */
export function describePlainly({ alarm, to, since, evaluation }: Transition): Notification {
  const over = to === "OK";
  return {
    severity: alarm.severity,
    subject: `${over ? "over" : alarm.severity}: ${alarm.title}`,
    body: [
      `${alarm.name} is ${to} since ${since.toISOString()}: ${evaluation.reason}.`,
      ...(over
        ? []
        : [alarm.why, `Likely: ${alarm.likelyCause}`, `What to do: docs/runbook.md#${alarm.entry}`]),
    ].join("\n"),
  };
}

/** For another process that asks for the sandbox's status: every alarm, those in ALARM first. */
export function alarmsAsJson(view: readonly AlarmView[]): Json {
  const order = { ALARM: 0, INSUFFICIENT_DATA: 2, OK: 1 };
  return [...view]
    .sort((one, other) => order[one.state] - order[other.state])
    .map(({ alarm, state, since, value, reason, suppressedBy }) => ({
      name: alarm.name,
      entry: alarm.entry,
      severity: alarm.severity,
      question: alarm.question,
      title: alarm.title,
      state,
      since: since?.toISOString() ?? null,
      value: value ?? null,
      comparison: alarm.comparison,
      threshold: alarm.threshold,
      unit: alarm.unit,
      consequenceOf: [...alarm.consequenceOf],
      reason,
      suppressedBy:
        suppressedBy === undefined
          ? null
          : {
              by: suppressedBy.by,
              causes: [...suppressedBy.causes],
              until: suppressedBy.until?.toISOString() ?? null,
            },
    }));
}
