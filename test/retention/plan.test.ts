import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Backup } from "../../lib/ports/backups.ts";
import { planRetention, type RetentionPolicy } from "../../lib/retention/plan.ts";

const policy: RetentionPolicy = { daily: 7, weekly: 4, monthly: 12 };
const hour = 3_600_000;
const day = 24 * hour;

function backup(id: string, startedAt: string | number, extra: Partial<Backup> = {}): Backup {
  const started = new Date(startedAt);
  return { id, database: "shop", status: "available", startedAt: started, managed: true, ...extra };
}

/** One backup a day at 03:00, the last on `lastDay`. */
function dailyBackups(count: number, lastDay: string): Backup[] {
  const last = Date.parse(`${lastDay}T03:00:00Z`);
  return Array.from({ length: count }, (_, index) => {
    const started = new Date(last - index * day);
    return backup(`b-${started.toISOString().slice(0, 10)}`, started.getTime());
  });
}

const kept = (plan: { keep: { id: string }[] }) => plan.keep.map(({ id }) => id);
const deleted = (plan: { delete: { id: string }[] }) => plan.delete.map(({ id }) => id);

describe("which backups are kept", () => {
  it("keeps 7 days, 4 ISO weeks and 12 months of two years of daily backups", () => {
    const plan = planRetention(dailyBackups(730, "2026-03-18"), new Date("2026-03-18T04:00:00Z"), policy);
    expect(plan.refused).toBeUndefined();
    // 18 March 2026 is a Wednesday. Days 12–18; Sundays 15, 8 and 1 March; ends of the 11 months before.
    expect(kept(plan).map((id) => id.slice(2))).toEqual([
      ...["2026-03-18", "2026-03-17", "2026-03-16", "2026-03-15", "2026-03-14", "2026-03-13", "2026-03-12"],
      ...["2026-03-08", "2026-03-01"],
      ...["2026-02-28", "2026-01-31", "2025-12-31", "2025-11-30", "2025-10-31", "2025-09-30"],
      ...["2025-08-31", "2025-07-31", "2025-06-30", "2025-05-31", "2025-04-30"],
    ]);
    expect(deleted(plan)).toHaveLength(730 - 20);
  });

  it("says every rule that wants a backup", () => {
    const plan = planRetention(dailyBackups(3, "2026-03-18"), new Date("2026-03-18T04:00:00Z"), policy);
    expect(plan.keep[0]?.reasons).toEqual(["daily", "weekly", "monthly", "newest-available"]);
    expect(plan.keep[2]?.reasons).toEqual(["daily"]);
  });

  it("counts only periods that have a backup, so a pause does not shorten the history", () => {
    const old = dailyBackups(10, "2025-06-10");
    const plan = planRetention(
      [backup("new", "2026-03-18T03:00:00Z"), ...old],
      new Date("2026-03-18T04:00:00Z"),
      {
        daily: 3,
        weekly: 0,
        monthly: 0,
      },
    );
    expect(kept(plan)).toEqual(["new", "b-2025-06-10", "b-2025-06-09"]);
  });

  it("starts ISO weeks on Monday and puts 1 January 2027 into the week of 28 December", () => {
    const days = ["2026-12-27", "2026-12-28", "2027-01-01", "2027-01-03", "2027-01-04"];
    const plan = planRetention(
      days.map((date) => backup(date, `${date}T03:00:00Z`)),
      new Date("2027-01-04T04:00:00Z"),
      { daily: 1, weekly: 3, monthly: 0 },
    );
    expect(kept(plan)).toEqual(["2027-01-04", "2027-01-03", "2026-12-27"]);
  });

  it("keeps the backup from which the first moment of the recovery window is restored", () => {
    const list = dailyBackups(20, "2026-03-18");
    const now = new Date("2026-03-18T04:00:00Z");
    const few: RetentionPolicy = { daily: 2, weekly: 0, monthly: 0 };
    expect(kept(planRetention(list, now, few))).toEqual(["b-2026-03-18", "b-2026-03-17"]);
    const plan = planRetention(list, now, { ...few, recoveryDays: 10 });
    expect(plan.keep.at(-1)).toEqual({ id: "b-2026-03-08", reasons: ["point-in-time"] });
    expect(plan.keep).toHaveLength(3);
    // One that ended inside the window does not lead to its beginning.
    const slow = list.map((one) => ({ ...one, finishedAt: new Date(one.startedAt.getTime() + 2 * hour) }));
    expect(kept(planRetention(slow, now, { ...few, recoveryDays: 10 }))).toContain("b-2026-03-07");
    // None is old enough: the oldest, from which the most moments can be had.
    expect(kept(planRetention(list, now, { ...few, recoveryDays: 35 }))).toContain("b-2026-02-27");
  });

  it("keeps the newest of several on one day", () => {
    const plan = planRetention(
      [
        backup("a", "2026-03-18T03:00:00Z"),
        backup("b", "2026-03-18T15:00:00Z"),
        backup("c", "2026-03-18T23:59:59Z"),
      ],
      new Date("2026-03-19T00:00:00Z"),
      policy,
    );
    expect(kept(plan)).toEqual(["c"]);
    expect(plan.delete).toEqual([
      { id: "a", reason: "expired" },
      { id: "b", reason: "expired" },
    ]);
  });

  it("lets a failed backup fill no period", () => {
    const plan = planRetention(
      [
        backup("good", "2026-03-17T03:00:00Z"),
        backup("failed", "2026-03-17T05:00:00Z", { status: "failed" }),
        backup("newer", "2026-03-19T03:00:00Z"),
      ],
      new Date("2026-03-19T04:00:00Z"),
      policy,
    );
    expect(kept(plan)).toEqual(["newer", "good"]);
    expect(plan.delete).toEqual([{ id: "failed", reason: "failed" }]);
  });
});

describe("what is never deleted", () => {
  const now = new Date("2026-03-30T04:00:00Z");
  const many = dailyBackups(60, "2026-03-30");
  const victim = (change: Partial<Backup>) =>
    many.map((entry) => (entry.id === "b-2026-02-03" ? { ...entry, ...change } : entry));

  it.each([
    ["pinned", { pinned: { reason: "audit" } }],
    ["unmanaged", { managed: false }],
    ["creating", { status: "creating" as const }],
    ["newest-verified", { verifiedAt: new Date("2026-02-04T00:00:00Z") }],
  ])("a backup that is %s", (reason, change) => {
    expect(deleted(planRetention(many, now, policy))).toContain("b-2026-02-03");
    const plan = planRetention(victim(change), now, policy);
    expect(plan.keep).toContainEqual({ id: "b-2026-02-03", reasons: [reason] });
  });

  it("a failed backup of today, or one with no usable backup after it", () => {
    const list = [
      backup("good", now.getTime() - 10 * day),
      backup("old-failure", now.getTime() - 11 * day, { status: "failed" }),
      backup("lonely-failure", now.getTime() - 3 * day, { status: "failed" }),
      backup("fresh-failure", now.getTime() - hour, { status: "failed" }),
    ];
    expect(deleted(planRetention(list, now, policy))).toEqual(["old-failure"]);
  });
});

describe("when the list looks wrong nothing is deleted", () => {
  const now = new Date("2026-03-30T04:00:00Z");
  const many = dailyBackups(60, "2026-03-30");
  const cases: [string, Backup[], Date, RegExp][] = [
    ["the clock is behind the newest backup", many, new Date("2026-03-29T04:00:00Z"), /clock says/],
    ["an id appears twice", [...many, many[5] as Backup], now, /b-2026-03-25 twice/],
    [
      "a status is unknown",
      [...many, backup("odd", now.getTime(), { status: "archived" as Backup["status"] })],
      now,
      /odd has the unknown status "archived"/,
    ],
    ["a date is invalid", [...many, backup("undated", "not a date")], now, /undated has no valid time/],
    ["an id is missing", [...many, backup("", now.getTime())], now, /without an id/],
    ["the clock is invalid", many, new Date(Number.NaN), /current time/],
    [
      "no usable backup is left",
      many.map((entry) => ({ ...entry, status: "failed" as const })),
      now,
      /no usable backup/,
    ],
    [
      "backups of two databases are mixed",
      [...many, backup("other", now.getTime(), { database: "crm" })],
      now,
      /mixes backups of "shop" and of "crm"/,
    ],
  ];
  it.each(cases)("%s", (_, list, at, reason) => {
    const plan = planRetention(list, at, policy);
    expect(plan.delete).toEqual([]);
    expect(plan.refused).toMatch(reason);
    expect(plan.keep).toHaveLength(list.length);
  });

  it("the policy would keep nothing", () => {
    expect(planRetention(many, now, { daily: 0, weekly: 0, monthly: 0 }).refused).toMatch(/0 daily/);
    expect(planRetention(many, now, { daily: 1.5, weekly: 0, monthly: 0 }).delete).toEqual([]);
  });

  it("an empty list is nothing to refuse", () => {
    expect(planRetention([], now, policy)).toEqual({ keep: [], delete: [] });
  });
});

describe("properties", () => {
  const now = new Date("2026-06-30T12:00:00Z");
  const entry = fc.record({
    ageHours: fc.integer({ min: 0, max: 24 * 800 }),
    status: fc.constantFrom("available", "available", "available", "failed", "creating", "deleting" as const),
    pinned: fc.boolean(),
    managed: fc.boolean(),
    verified: fc.boolean(),
  });
  const lists = fc.array(entry, { maxLength: 120 }).map((entries) =>
    entries.map(
      (made, index): Backup => ({
        ...backup(`b${index}`, now.getTime() - made.ageHours * hour),
        status: made.status as Backup["status"],
        managed: made.managed || made.ageHours % 3 !== 0,
        ...(made.pinned && made.ageHours % 7 === 0 ? { pinned: { reason: "asked" } } : {}),
        ...(made.verified ? { verifiedAt: now } : {}),
      }),
    ),
  );
  const policies = fc.record({
    daily: fc.integer({ min: 1, max: 10 }),
    weekly: fc.integer({ min: 0, max: 6 }),
    monthly: fc.integer({ min: 0, max: 14 }),
  });
  const runs = { numRuns: 300 };

  it("pruning what was kept deletes nothing more", () => {
    fc.assert(
      fc.property(lists, policies, (list, rules) => {
        const keep = new Set(kept(planRetention(list, now, rules)));
        const again = planRetention(
          list.filter(({ id }) => keep.has(id)),
          now,
          rules,
        );
        expect(again.delete).toEqual([]);
      }),
      runs,
    );
  });

  it("every backup is either kept, with a reason, or deleted", () => {
    fc.assert(
      fc.property(lists, policies, (list, rules) => {
        const plan = planRetention(list, now, rules);
        expect([...kept(plan), ...deleted(plan)].sort()).toEqual(list.map(({ id }) => id).sort());
        expect(plan.keep.every(({ reasons }) => reasons.length > 0)).toBe(true);
      }),
      runs,
    );
  });

  it("the newest usable, the newest verified, pinned, unmanaged and unfinished ones survive", () => {
    fc.assert(
      fc.property(lists, policies, (list, rules) => {
        const gone = new Set(deleted(planRetention(list, now, rules)));
        const usable = list.filter(({ managed, status }) => managed && status === "available");
        const newest = (some: Backup[]) => Math.max(...some.map(({ startedAt }) => startedAt.getTime()));
        const survivors = usable.filter(({ id }) => !gone.has(id));
        expect(newest(survivors)).toBe(newest(usable));
        const proved = (some: Backup[]) => some.filter(({ verifiedAt }) => verifiedAt !== undefined);
        expect(newest(proved(survivors))).toBe(newest(proved(usable)));
        for (const { id, managed, status, pinned } of list) {
          if (!managed || pinned !== undefined || status === "creating") expect(gone.has(id)).toBe(false);
        }
      }),
      runs,
    );
  });

  it("keeps no more usable ones than the policy, pins and the newest verified ask for", () => {
    fc.assert(
      fc.property(lists, policies, (list, rules) => {
        const plan = planRetention(list, now, rules);
        fc.pre(plan.refused === undefined);
        const keep = new Set(kept(plan));
        const usable = list.filter(
          ({ id, managed, status, pinned }) =>
            keep.has(id) && managed && status === "available" && pinned === undefined,
        );
        expect(usable.length).toBeLessThanOrEqual(rules.daily + rules.weekly + rules.monthly + 1);
      }),
      runs,
    );
  });

  it("what may be deleted now may be deleted later", () => {
    fc.assert(
      fc.property(lists, policies, fc.integer({ min: 0, max: 400 * 24 }), (list, rules, hours) => {
        const later = new Set(deleted(planRetention(list, new Date(now.getTime() + hours * hour), rules)));
        expect(deleted(planRetention(list, now, rules)).every((id) => later.has(id))).toBe(true);
      }),
      runs,
    );
  });

  it("the order of the list does not matter", () => {
    fc.assert(
      fc.property(lists, policies, fc.infiniteStream(fc.nat()), (list, rules, random) => {
        const shuffled = list
          .map((item) => ({ item, key: random.next().value as number }))
          .sort((a, b) => a.key - b.key)
          .map(({ item }) => item);
        const plan = planRetention(list, now, rules);
        fc.pre(plan.refused === undefined);
        expect(planRetention(shuffled, now, rules)).toEqual(plan);
      }),
      runs,
    );
  });

  it("a stricter policy never keeps a usable backup that a more generous one drops", () => {
    fc.assert(
      fc.property(lists, policies, (list, rules) => {
        const generous = { daily: rules.daily + 2, weekly: rules.weekly + 1, monthly: rules.monthly + 1 };
        const strictlyKept = new Set(kept(planRetention(list, now, rules)));
        expect(deleted(planRetention(list, now, generous)).some((id) => strictlyKept.has(id))).toBe(false);
      }),
      runs,
    );
  });
});

it("plans 100,000 backups", () => {
  const start = Date.parse("2000-01-01T00:00:00Z");
  const list = Array.from({ length: 100_000 }, (_, index) => backup(`b${index}`, start + index * 2 * hour));
  const plan = planRetention(list, new Date("2026-06-30T12:00:00Z"), policy);
  expect(plan.keep.length).toBeLessThanOrEqual(23);
  expect(plan.delete.length + plan.keep.length).toBe(100_000);
});
