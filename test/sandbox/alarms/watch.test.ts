import { describe, expect, it } from "vitest";
import type { Alarm } from "../../../lib/alarms/alarm.ts";
import { memorySeries, type SeriesId } from "../../../lib/sandbox/alarms/series.ts";
import { type AlarmWatch, type Transition, watchAlarms } from "../../../lib/sandbox/alarms/watch.ts";
import { makeAlarm, timing } from "./make-alarm.ts";

const start = Date.parse("2026-03-02T12:00:00Z");
const minute = 60_000;

function seriesNamed(job: string): SeriesId {
  return { from: "pgkeep", metric: "JobFailed", dimensions: { Job: job } };
}

/** An alarm of its own series, on in the minute after that is beyond the limit. */
function alarmNamed(name: string, given: Partial<Alarm> = {}): Alarm {
  return makeAlarm({
    name,
    entry: name,
    timing: timing(1, 1),
    source: {
      kind: "metric",
      metric: { from: "pgkeep", metric: "JobFailed", dimensions: { Job: name } },
    },
    ...given,
  });
}

/** What each alarm's series is from a minute on; what it is not told stays as it was, and `gone` sends nothing. */
type Story = Readonly<Record<number, Readonly<Record<string, "good" | "bad" | "gone">>>>;

async function play(
  alarms: readonly Alarm[],
  story: Story,
  minutes: number,
  each: (watch: AlarmWatch, at: number) => void = () => {},
): Promise<string[]> {
  const store = memorySeries();
  const told: string[] = [];
  let at = 0;
  const watch = watchAlarms({
    alarms,
    store,
    notify: ({ alarm, to, since }) => {
      told.push(`${at}: ${alarm.name} ${to} since ${(since.getTime() - start) / minute}`);
    },
  });
  const now = new Map(alarms.map(({ name }) => [name, "good"]));
  for (at = 1; at <= minutes; at += 1) {
    for (const [name, what] of Object.entries(story[at] ?? {})) now.set(name, what);
    for (const [name, what] of now) {
      if (what === "gone") continue;
      store.add(seriesNamed(name), {
        atMilliseconds: start + at * minute - 30_000,
        value: what === "bad" ? 100 : 0,
      });
    }
    await watch.evaluate(new Date(start + at * minute));
    each(watch, at);
  }
  return told;
}

describe("an alarm without root causes", () => {
  const alarms = [alarmNamed("down")];

  it("is told once when it begins and once when it is over", async () => {
    expect(await play(alarms, { 5: { down: "bad" }, 20: { down: "good" } }, 60)).toEqual([
      "5: down ALARM since 5",
      "20: down OK since 20",
    ]);
  });

  it("is not told when a watch begins and all is well", async () => {
    expect(await play(alarms, {}, 10)).toEqual([]);
  });

  it("is told again when it comes again", async () => {
    const story: Story = { 5: { down: "bad" }, 6: { down: "good" }, 9: { down: "bad" } };
    expect(await play(alarms, story, 20)).toEqual([
      "5: down ALARM since 5",
      "6: down OK since 6",
      "9: down ALARM since 9",
    ]);
  });

  it("says nothing when its data end, and that it is over when they are good again", async () => {
    // The last datum counts for three minutes: so many are retrieved for one.
    const story: Story = { 5: { down: "bad" }, 7: { down: "gone" }, 30: { down: "good" } };
    const states: string[] = [];
    const told = await play(alarms, story, 40, (watch, at) => {
      if (at === 8 || at === 9) states.push(watch.view()[0]?.state ?? "");
    });
    expect(states).toEqual(["ALARM", "INSUFFICIENT_DATA"]);
    expect(told).toEqual(["5: down ALARM since 5", "30: down OK since 30"]);
  });
});

describe("an alarm that another explains", () => {
  const alarms = [
    alarmNamed("slow", { consequenceOf: ["down", "full"] }),
    alarmNamed("down"),
    alarmNamed("full"),
  ];

  it("is told five minutes later when no root cause came, and its end too", async () => {
    expect(await play(alarms, { 5: { slow: "bad" }, 30: { slow: "good" } }, 60)).toEqual([
      "10: slow ALARM since 5",
      "35: slow OK since 30",
    ]);
  });

  it("is not told at all when it is over within the wait", async () => {
    expect(await play(alarms, { 5: { slow: "bad" }, 9: { slow: "good" } }, 60)).toEqual([]);
  });

  it.each(["down", "full"])("is silent while %s is in alarm, even if that comes later", async (cause) => {
    const story: Story = {
      5: { slow: "bad" },
      9: { [cause]: "bad" },
      40: { [cause]: "good" },
      49: { slow: "good" },
    };
    const told = await play(alarms, story, 120, (watch, at) => {
      const slow = watch.view().find(({ alarm }) => alarm.name === "slow");
      if (at === 8) {
        expect(slow?.suppressedBy).toEqual({
          by: "wait-period",
          causes: [],
          until: new Date(start + 10 * minute),
        });
      }
      if (at === 30)
        expect(slow).toMatchObject({ state: "ALARM", suppressedBy: { by: "alarm", causes: [cause] } });
      if (at === 45) {
        expect(slow?.suppressedBy).toMatchObject({
          by: "extension-period",
          until: new Date(start + 55 * minute),
        });
      }
    });
    expect(told).toEqual([`9: ${cause} ALARM since 9`, `40: ${cause} OK since 40`]);
  });

  it("is told when it is still there a quarter of an hour after its root cause is gone", async () => {
    const story: Story = { 5: { slow: "bad", down: "bad" }, 20: { down: "good" }, 45: { slow: "good" } };
    expect(await play(alarms, story, 60)).toEqual([
      "5: down ALARM since 5",
      "20: down OK since 20",
      "35: slow ALARM since 5",
      "50: slow OK since 45",
    ]);
  });

  it("stays silent while one of two root causes is still there", async () => {
    const story: Story = {
      5: { slow: "bad", down: "bad" },
      15: { full: "bad" },
      20: { down: "good" },
      60: { full: "good", slow: "good" },
    };
    const told = await play(alarms, story, 90);
    expect(told.filter((line) => line.includes("slow"))).toEqual([]);
  });

  it("is not told twice when its root cause comes after it was told", async () => {
    const story: Story = {
      5: { slow: "bad" },
      20: { down: "bad" },
      25: { down: "good" },
      60: { slow: "good" },
    };
    const told = await play(alarms, story, 90);
    expect(told.filter((line) => line.includes("slow"))).toEqual([
      "10: slow ALARM since 5",
      "65: slow OK since 60",
    ]);
  });

  it("is silenced whatever the order of the list, by a cause that comes in the same minute", async () => {
    for (const order of [alarms, [...alarms].reverse()]) {
      const told = await play(order, { 5: { slow: "bad", down: "bad" } }, 30);
      expect(told).toEqual(["5: down ALARM since 5"]);
    }
  });

  it("is silenced by a cause that is silenced itself", async () => {
    const chain = [
      alarmNamed("late", { consequenceOf: ["slow"] }),
      alarmNamed("slow", { consequenceOf: ["down"] }),
      alarmNamed("down"),
    ];
    const story: Story = { 5: { late: "bad", slow: "bad", down: "bad" } };
    expect(await play(chain, story, 60)).toEqual(["5: down ALARM since 5"]);
  });
});

describe("telling", () => {
  it("tries every transition once, and then says what failed", async () => {
    const store = memorySeries();
    const tried: string[] = [];
    const watch = watchAlarms({
      alarms: [alarmNamed("one"), alarmNamed("two")],
      store,
      notify: async ({ alarm }: Transition) => {
        tried.push(alarm.name);
        throw new Error(`no way to tell of ${alarm.name}`);
      },
    });
    for (const name of ["one", "two"]) store.add(seriesNamed(name), { atMilliseconds: start, value: 100 });
    await expect(watch.evaluate(new Date(start + minute))).rejects.toThrow(/could not be told/);
    expect(tried).toEqual(["one", "two"]);
    await expect(watch.evaluate(new Date(start + minute))).resolves.toEqual([]);
    expect(tried).toEqual(["one", "two"]);
  });
});
