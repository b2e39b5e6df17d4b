import { describe, expect, it } from "vitest";
import { alarmLines } from "../../lib/cli/sandbox-status.ts";
import type { AlarmView } from "../../lib/sandbox/alarms/watch.ts";
import { makeAlarm } from "../sandbox/alarms/make-alarm.ts";

const table = (head: readonly string[], rows: readonly (readonly (string | number)[])[]) =>
  [head, ...rows].map((row) => row.join(" | ")).join("\n");

function view(name: string, given: Partial<AlarmView> = {}): AlarmView {
  return {
    alarm: makeAlarm({ name }),
    state: "OK",
    since: new Date("2026-03-02T12:00:00Z"),
    value: 1,
    reason: "it was measured",
    suppressedBy: undefined,
    ...given,
  };
}

const lines = (alarms: readonly AlarmView[]) => alarmLines({ table }, alarms, (at) => `3 min after ${at}`);

describe("alarms on the terminal", () => {
  it("are not spoken of before they are evaluated", () => {
    expect(lines([])).toEqual([]);
  });

  it("are counted when none is on", () => {
    expect(lines([view("one"), view("two", { state: "INSUFFICIENT_DATA" })])).toEqual([
      "alarms: none of 2 is on",
    ]);
  });

  it("are shown when they are on, those that tell nobody with the reason", () => {
    const on = { state: "ALARM" } as const;
    const until = new Date();
    const shown = lines([
      view("fine"),
      view("down", on),
      view("slow", { ...on, suppressedBy: { by: "alarm", causes: ["down"] } }),
      view("late", { ...on, suppressedBy: { by: "wait-period", causes: [], until } }),
      view("full", { ...on, suppressedBy: { by: "extension-period", causes: [], until } }),
    ]).join("\n");
    expect(shown.split("\n").filter((line) => line !== "")).toEqual([
      "4 alarms |  | measured | silent",
      "page down | since 3 min after 2026-03-02T12:00:00.000Z | it was measured | ",
      "page slow | since 3 min after 2026-03-02T12:00:00.000Z | it was measured | because of down",
      "page late | since 3 min after 2026-03-02T12:00:00.000Z | it was measured | waits for its cause",
      "page full | since 3 min after 2026-03-02T12:00:00.000Z | it was measured | may recover after its cause",
    ]);
  });
});
