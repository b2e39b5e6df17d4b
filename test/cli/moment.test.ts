import { describe, expect, it } from "vitest";
import { parseMoment } from "../../lib/cli/moment.ts";
import { restoreRequest } from "../../lib/cli/restore-request.ts";

describe("a moment on the command line", () => {
  it.each([
    ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"],
    ["2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678Z"],
    ["2026-01-02 03:04:05.6+01:00", "2026-01-02T02:04:05.600Z"],
    ["2026-01-02T03:04-0530", "2026-01-02T08:34:00.000Z"],
    ["2026-01-01T00:30:00+01", "2025-12-31T23:30:00.000Z"],
    ["2024-02-29T12:00:00z", "2024-02-29T12:00:00.000Z"],
  ])("%s is %s", (text, expected) => {
    expect(parseMoment(text).toISOString()).toBe(expected);
  });

  it.each([
    ["2026-01-02T03:04:05", /no time zone/],
    ["2026-01-02", /not a moment/],
    ["yesterday", /not a moment/],
    ["1767322800", /not a moment/],
    ["", /not a moment/],
    ["2026-02-29T12:00:00Z", /no such day/],
    ["2026-13-01T12:00:00Z", /no such day/],
    ["2026-01-02T24:00:00Z", /no such day/],
    ["2026-01-02T23:59:60Z", /no such day/],
    ["2026-01-02T03:04:05+25:00", /no such time zone/],
    ["2026-01-02T03:04:05.123456Z", /at most three decimals/],
    ["2026-01-02T03:04:05Z; drop table", /not a moment/],
  ])("%s is refused", (text, reason) => {
    expect(() => parseMoment(text)).toThrow(reason);
    expect(() => parseMoment(text)).toThrow(expect.objectContaining({ name: "UsageError" }));
  });
});

describe("what a restore is asked for", () => {
  const now = new Date("2026-01-02T03:04:05Z");
  it("is a moment, the end of a backup, or everything", () => {
    expect(restoreRequest({ toTime: "2026-01-01T00:00:00Z" }, now)).toEqual({
      name: "restore-20260102t030405z",
      target: { kind: "time", time: new Date("2026-01-01T00:00:00Z") },
    });
    expect(restoreRequest({ backup: "b", name: "mine" }, now)).toEqual({
      name: "mine",
      target: { kind: "backup", backupId: "b" },
    });
    expect(restoreRequest({ latest: true, backup: "b" }, now)).toEqual({
      name: "restore-20260102t030405z",
      target: { kind: "latest" },
      fromBackupId: "b",
    });
  });

  it("is nothing in particular or two things at once: both are refused", () => {
    expect(() => restoreRequest({}, now)).toThrow(/nothing says what to restore/);
    expect(() => restoreRequest({ latest: true, toTime: "2026-01-01T00:00:00Z" }, now)).toThrow(/exclude/);
  });
});
