import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Composite, evaluateComposite, quiet } from "../../../lib/sandbox/alarms/composite.ts";

/** The page's examples have a wait period of 2 time units and an extension period of 3. */
const units = { waitMilliseconds: 2, extensionMilliseconds: 3 };

/** What changes at a time; each of both stays as it is until then. */
type Change = { composite?: "OK" | "ALARM"; suppressor?: "OK" | "ALARM" };

interface Step {
  at: number;
  by: "alarm" | "wait-period" | "extension-period" | "nothing";
  acts: "OK" | "ALARM" | undefined;
}

function play(changes: Readonly<Record<number, Change>>, until: number, periods = units): Step[] {
  let composite: Composite = quiet;
  const state = { composite: "OK", suppressor: "OK" };
  return Array.from({ length: until + 1 }, (_, at) => {
    Object.assign(state, changes[at]);
    const result = evaluateComposite(
      composite,
      {
        inAlarm: state.composite === "ALARM",
        suppressorInAlarm: state.suppressor === "ALARM",
        atMilliseconds: at,
      },
      periods,
    );
    composite = result.composite;
    const { pending, suppressorInAlarm, waiting } = composite;
    const held = suppressorInAlarm ? "alarm" : (waiting?.by ?? "nothing");
    return {
      at,
      by: pending ? held : "nothing",
      acts: result.acts ? (state.composite as "OK" | "ALARM") : undefined,
    };
  });
}

const actions = (steps: readonly Step[]) =>
  steps.flatMap(({ at, acts }) => (acts === undefined ? [] : [`${acts} at t${at}`]));
const held = (steps: readonly Step[], by: Step["by"]) =>
  steps.filter((step) => step.by === by).map(({ at }) => at);

/** CloudWatch User Guide, Suppressing composite alarm actions: its six examples, with its times. */
describe("suppression of a composite alarm's actions, as AWS documents it", () => {
  it("example 1: actions are not suppressed after the wait period", () => {
    const steps = play({ 2: { composite: "ALARM" } }, 12);
    expect(held(steps, "wait-period")).toEqual([2, 3]);
    expect(actions(steps)).toEqual(["ALARM at t4"]);
  });

  it("example 2: actions are suppressed by the alarm before the wait period expires", () => {
    const steps = play({ 2: { composite: "ALARM" }, 3: { suppressor: "ALARM" } }, 12);
    expect(held(steps, "wait-period")).toEqual([2]);
    expect(held(steps, "alarm")).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    expect(actions(steps)).toEqual([]);
  });

  it("example 3: a change while the wait period suppresses begins another one", () => {
    const steps = play({ 2: { composite: "ALARM" }, 3: { composite: "OK" } }, 12);
    expect(held(steps, "wait-period")).toEqual([2, 3, 4]);
    expect(actions(steps)).toEqual(["OK at t5"]);
  });

  it("example 4: a change while the alarm suppresses takes no actions", () => {
    const steps = play({ 1: { suppressor: "ALARM" }, 2: { composite: "ALARM" } }, 12);
    expect(held(steps, "wait-period")).toEqual([]);
    expect(held(steps, "alarm")[0]).toBe(2);
    expect(actions(steps)).toEqual([]);
  });

  it("example 5: actions are not suppressed after the extension period", () => {
    const steps = play(
      { 2: { composite: "ALARM" }, 3: { suppressor: "ALARM" }, 6: { suppressor: "OK" } },
      12,
    );
    expect(held(steps, "alarm")).toEqual([3, 4, 5]);
    expect(held(steps, "extension-period")).toEqual([6, 7, 8]);
    expect(actions(steps)).toEqual(["ALARM at t9"]);
  });

  it("example 6: a change while the extension period suppresses begins a wait period", () => {
    const steps = play(
      {
        2: { composite: "ALARM" },
        3: { suppressor: "ALARM" },
        6: { suppressor: "OK" },
        7: { composite: "OK" },
      },
      12,
    );
    expect(held(steps, "extension-period")).toEqual([6]);
    expect(held(steps, "wait-period")).toEqual([2, 7, 8]);
    expect(actions(steps)).toEqual(["OK at t9"]);
  });

  it("the first two pictures: a suppressor within the wait period, an end within the extension period", () => {
    const longer = { waitMilliseconds: 6, extensionMilliseconds: 6 };
    const waited = play({ 2: { composite: "ALARM" }, 4: { suppressor: "ALARM" } }, 12, longer);
    expect(held(waited, "wait-period")).toEqual([2, 3]);
    expect(actions(waited)).toEqual([]);
    const extended = play(
      {
        0: { composite: "ALARM", suppressor: "ALARM" },
        2: { suppressor: "OK" },
        5: { composite: "OK" },
      },
      20,
      longer,
    );
    expect(held(extended, "extension-period")).toEqual([2, 3, 4]);
    expect(actions(extended)).toEqual(["OK at t11"]);
  });
});

describe("suppression", () => {
  it("holds back nothing that was told before the suppressor came", () => {
    const steps = play(
      { 2: { composite: "ALARM" }, 6: { suppressor: "ALARM" }, 8: { suppressor: "OK" } },
      30,
    );
    expect(actions(steps)).toEqual(["ALARM at t4"]);
  });

  it("tells of an end that came while the suppressor was in alarm, when that is over", () => {
    const steps = play(
      {
        2: { composite: "ALARM" },
        6: { suppressor: "ALARM" },
        7: { composite: "OK" },
        9: { suppressor: "OK" },
      },
      30,
    );
    expect(actions(steps)).toEqual(["ALARM at t4", "OK at t12"]);
  });

  it("gives way to a suppressor that comes at the moment the wait period ends", () => {
    expect(actions(play({ 2: { composite: "ALARM" }, 4: { suppressor: "ALARM" } }, 12))).toEqual([]);
  });

  /** The rules said another way: over the whole story at once instead of step by step. */
  function naiveActions(composite: readonly boolean[], suppressor: readonly boolean[]): string[] {
    const told: string[] = [];
    let lastAction = -1;
    composite.forEach((inAlarm, at) => {
      const changedAt = (from: number) =>
        Array.from({ length: at - from }, (_, index) => at - index).find(
          (time) => composite[time] !== (time === 0 ? false : composite[time - 1]),
        );
      const change = changedAt(lastAction);
      if (change === undefined || suppressor[at] === true) return;
      const lastSuppressed = suppressor.lastIndexOf(true, at);
      const released = lastSuppressed + 1;
      // After a release later than the last change the extension counts, else the wait since the change.
      const ready = lastSuppressed >= 0 && released > change ? released + 3 : change + 2;
      if (at < ready) return;
      told.push(`${inAlarm ? "ALARM" : "OK"} at t${at}`);
      lastAction = at;
    });
    return told;
  }

  it("does what a second reading of the rules does, whatever happens", () => {
    const story = fc.array(fc.tuple(fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(story, (times) => {
        const changes = Object.fromEntries(
          times.map(([composite, suppressor], at): [number, Change] => [
            at,
            { composite: composite ? "ALARM" : "OK", suppressor: suppressor ? "ALARM" : "OK" },
          ]),
        );
        const expected = naiveActions(
          times.map(([composite]) => composite),
          times.map(([, suppressor]) => suppressor),
        );
        expect(actions(play(changes, times.length - 1))).toEqual(expected);
      }),
      { numRuns: 2_000 },
    );
  });
});
