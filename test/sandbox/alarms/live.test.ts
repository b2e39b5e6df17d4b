import { appendFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Clock } from "../../../lib/ports/clock.ts";
import type { Notification } from "../../../lib/ports/notifications.ts";
import { alarmsAsJson, type LiveAlarms, startAlarmWatch } from "../../../lib/sandbox/alarms/live.ts";
import { metricsTail, recordingMetrics } from "../../../lib/sandbox/alarms/metrics-tail.ts";
import { memorySeries, type SeriesId } from "../../../lib/sandbox/alarms/series.ts";
import { fileMetrics } from "../../../lib/sandbox/metrics.ts";
import { makeAlarm, timing } from "./make-alarm.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "pgkeep-test-alarms-"));
});
afterAll(() => rm(directory, { recursive: true }));

const everything = [0, Number.POSITIVE_INFINITY] as const;
const lag: SeriesId = { from: "pgkeep", metric: "ReplicaLagBytes", dimensions: { Replica: "replica-1" } };

describe("the metrics of a sandbox", () => {
  it("are followed as they are appended, over the turns of the file", async () => {
    const file = join(directory, "turns.jsonl");
    const store = memorySeries();
    const tail = metricsTail(file, store);
    expect(await tail.read()).toBe(0);
    const metrics = fileMetrics(file, "shop", { turnOverBytes: 400 });
    const at = (index: number) => new Date(Date.UTC(2026, 2, 2) + index * 60_000);
    const dimensions = { Replica: "replica-1" };
    let read = 0;
    for (let index = 0; index < 40; index += 1) {
      await metrics.put([{ name: "ReplicaLagBytes", value: index, at: at(index), dimensions }]);
      read += await tail.read();
    }
    expect(read).toBe(40);
    expect(store.between(lag, ...everything).map(({ value }) => value)).toEqual(
      Array.from({ length: 40 }, (_, index) => index),
    );
    expect(store.last(lag)?.atMilliseconds).toBe(at(39).getTime());
    await tail.close();
  });

  it("count when a line is written in two parts, and not when it is broken", async () => {
    const file = join(directory, "parts.jsonl");
    const store = memorySeries();
    const tail = metricsTail(file, store);
    const line = `{"at":"2026-03-02T00:00:00Z","name":"ReplicaLagBytes","value":7,"dimensions":{"Database":"s","Replica":"ü\\"1"}}\n`;
    const bytes = Buffer.from(line);
    const cut = bytes.indexOf(0xc3) + 1;
    await appendFile(file, bytes.subarray(0, cut));
    expect(await tail.read()).toBe(0);
    await appendFile(file, bytes.subarray(cut));
    await appendFile(file, '{"at":"2026-03-0\n');
    expect(await tail.read()).toBe(1);
    expect(store.last({ ...lag, dimensions: { Replica: 'ü"1' } })?.value).toBe(7);
    await tail.close();
  });

  it("are in the store of a port that records, and where it puts them", async () => {
    const store = memorySeries();
    const put: unknown[] = [];
    const metrics = recordingMetrics({ put: async (data) => void put.push(...data) }, store);
    const datum = {
      name: "ReplicaLagBytes",
      value: 3,
      at: new Date(5),
      dimensions: { Replica: "replica-1" },
    } as const;
    await metrics.put([datum]);
    expect(put).toEqual([datum]);
    expect(store.last(lag)).toEqual({ atMilliseconds: 5, value: 3 });
  });
});

/** Time that passes when somebody sleeps, until the given minutes are over; then sleep never ends. */
function clockFor(minutes: number): Clock & { over: Promise<void> } {
  const begin = Date.parse("2026-03-02T12:00:20Z");
  let now = begin;
  let end: () => void = () => {};
  const over = new Promise<void>((resolve) => {
    end = resolve;
  });
  return {
    over,
    now: () => new Date(now),
    sleep: async (milliseconds, signal) => {
      if (now + milliseconds > begin + minutes * 60_000) {
        end();
        await new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
      }
      now += milliseconds;
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

describe("the alarms of a running sandbox", () => {
  const cpu: SeriesId = { from: "aws", metric: "CPUUtilization", dimensions: { Server: "primary" } };
  const alarm = makeAlarm({
    name: "cpu-high",
    entry: "cpu-high",
    title: "The CPU is busy",
    severity: "ticket",
    timing: timing(2, 2),
    source: { kind: "metric", metric: { from: "aws", metric: "CPUUtilization" } },
  });

  /** A sandbox whose CPU is busy from the fifth to the ninth measuring. */
  async function watched(
    minutes: number,
    given: Partial<Parameters<typeof startAlarmWatch>[0]> = {},
  ): Promise<{ sent: Notification[]; problems: string[]; live: LiveAlarms }> {
    const clock = clockFor(minutes);
    const sent: Notification[] = [];
    const problems: string[] = [];
    let measured = 0;
    const live = startAlarmWatch({
      state: { metricsFile: join(directory, "none.jsonl") },
      alarms: [alarm],
      measure: async () => {
        measured += 1;
        return [{ id: cpu, value: measured >= 5 && measured < 10 ? 99 : 1 }];
      },
      notifications: { send: async (notification) => void sent.push(notification) },
      clock,
      signal: new AbortController().signal,
      onProblem: (text) => problems.push(text),
      ...given,
    });
    await clock.over;
    return { sent, problems, live };
  }

  it("are evaluated each minute with what was measured in it, and told once", async () => {
    const { sent, problems, live } = await watched(20);
    expect(problems).toEqual([]);
    expect(sent.map(({ severity, subject }) => `${severity} | ${subject}`)).toEqual([
      "ticket | ticket: The CPU is busy",
      "ticket | over: The CPU is busy",
    ]);
    // The first measuring is at the start, the second at 12:00:55; the sixth bad one in a row makes two periods.
    expect(sent[0]?.body).toContain(
      "cpu-high is ALARM since 2026-03-02T12:05:00.000Z: 2 of 2 periods of 60 s",
    );
    expect(sent[0]?.body).toContain("docs/runbook.md#cpu-high");
    expect(alarmsAsJson(live.view())).toEqual([
      expect.objectContaining({
        name: "cpu-high",
        state: "OK",
        value: 1,
        threshold: 10,
        since: "2026-03-02T12:09:00.000Z",
        suppressedBy: null,
      }),
    ]);
    await live.stop();
    await live.stop();
  });

  it("go on when measuring or telling fails, and say so", async () => {
    let turn = 0;
    const { sent, problems, live } = await watched(20, {
      measure: async () => {
        turn += 1;
        if (turn === 4) throw new Error("no such file");
        return [{ id: cpu, value: turn >= 8 ? 99 : 1 }];
      },
      notifications: {
        send: async () => {
          throw new Error("the disk is full");
        },
      },
    });
    await live.stop();
    expect(sent).toEqual([]);
    expect(problems).toEqual([
      "measuring for the alarms: no such file",
      "evaluating the alarms: the disk is full",
    ]);
    expect(live.view()[0]?.state).toBe("ALARM");
  });

  it("are told in the words of whoever describes them", async () => {
    const { sent, live } = await watched(20, {
      describe: async ({ to }) => ({ severity: "page", subject: `it is ${to}`, body: "" }),
    });
    await live.stop();
    expect(sent.map(({ subject }) => subject)).toEqual(["it is ALARM", "it is OK"]);
  });

  it("end when the sandbox ends", async () => {
    const ending = new AbortController();
    const { problems, live } = await watched(3, { signal: ending.signal });
    ending.abort();
    await live.stop();
    expect(problems).toEqual([]);
  });
});
