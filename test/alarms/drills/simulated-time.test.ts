import { expect, test } from "vitest";
import { SimulatedTime } from "./simulated-time.ts";

const start = new Date("2026-03-02T00:00:00Z");

/** A real clock that is set by hand, in milliseconds since the simulation began. */
function simulation() {
  const real = { milliseconds: 0 };
  return { real, time: new SimulatedTime(start, () => 1_000_000 + real.milliseconds) };
}

const simulatedSeconds = (time: SimulatedTime, realMilliseconds: number) =>
  (time.of(new Date(1_000_000 + realMilliseconds)).getTime() - start.getTime()) / 1000;

test("what happened between two ticks is placed between their minutes", () => {
  const { real, time } = simulation();
  real.milliseconds = 100;
  time.advance(60);
  real.milliseconds = 400;
  time.advance(60);
  expect(time.now().toISOString()).toBe("2026-03-02T00:02:00.000Z");
  expect(simulatedSeconds(time, 50)).toBe(30);
  expect(simulatedSeconds(time, 100)).toBe(60);
  expect(simulatedSeconds(time, 250)).toBe(90);
});

test("before the first tick a second is a second, and nothing is in the future", () => {
  const { real, time } = simulation();
  real.milliseconds = 100;
  time.advance(60);
  expect(simulatedSeconds(time, -5_000)).toBe(-5);
  expect(simulatedSeconds(time, 700)).toBe(60);
});

test("an age that a server tells in real seconds is told in simulated ones", () => {
  const { real, time } = simulation();
  for (let tick = 1; tick <= 10; tick++) {
    real.milliseconds = tick * 100;
    time.advance(60);
  }
  expect(time.ageSeconds(0.5)).toBe(300);
  expect(time.ageSeconds(0)).toBe(0);
  expect(time.ageSeconds(1 + 3600)).toBe(600 + 3600);
});
