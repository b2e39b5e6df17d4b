import { describe, expect, it } from "vitest";
import { parseRoutingDocument } from "../../lib/routing/document.ts";
import { behind, dead, deadPrimary, lsn, megabyte, primary, replica, Series, walEnd } from "./probes.ts";

describe("the first document", () => {
  it("lets every replica serve that is well, with equal shares that add up to 100", () => {
    const series = new Series();
    const document = series.run([replica("a"), replica("b"), replica("c")]);
    expect(document).toMatchObject({
      formatVersion: 1,
      version: 1,
      database: "test",
      basis: "probed",
      reason: "3 of 3 replicas may serve reads",
      validForSeconds: 180,
      primary: { reachable: true, servesReads: false },
    });
    expect(
      document.replicas.map(({ state, weight, lagBytes, lagSeconds }) => [
        state,
        weight,
        lagBytes,
        lagSeconds,
      ]),
    ).toEqual([
      ["serving", 34, 0, 0],
      ["serving", 33, 0, 0],
      ["serving", 33, 0, 0],
    ]);
    expect(parseRoutingDocument(JSON.stringify(document), "document")).toEqual(document);
  });

  it("leaves out a replica that cannot be reached, with the reason", () => {
    const series = new Series();
    series.run([replica("a"), dead("b")]);
    expect(series.replicas.a).toMatchObject({ state: "serving", weight: 100 });
    expect(series.replicas.b).toMatchObject({
      state: "unreachable",
      weight: 0,
      reason: "cannot reach b:5432",
      lagBytes: null,
      lagSeconds: null,
    });
  });

  it("names the primary when there is no replica", () => {
    const document = new Series().run([]);
    expect(document.primary.servesReads).toBe(true);
    expect(document.reason).toBe("there is no replica, so the primary serves reads");
  });
});

describe("lag", () => {
  it("is none on an idle primary, however old the last transaction is", () => {
    const series = new Series({ maxLagSeconds: 10, resumeLagSeconds: 5 });
    series.run([replica("a", { lastReplayedAgeSeconds: 86_400 })]);
    expect(series.replicas.a).toMatchObject({ state: "serving", lagBytes: 0, lagSeconds: 0 });
  });

  it("is no older than the last time without any, when an idle primary has just written", () => {
    const series = new Series({ maxLagSeconds: 120 });
    series.run([replica("a", { lastReplayedAgeSeconds: 7_200 })]);
    series.run([behind("a", 100, 7_260)]);
    expect(series.replicas.a).toMatchObject({ state: "serving", lagBytes: 100, lagSeconds: 60 });
  });

  it("grows while WAL stays outstanding", () => {
    const series = new Series({ maxLagSeconds: 120 });
    const states = [0, 100, 200, 300, 400].map((bytes, index) => {
      series.run([bytes === 0 ? replica("a") : behind("a", bytes, 60 * index)]);
      return [series.state("a"), series.replicas.a?.lagSeconds];
    });
    expect(states).toEqual([
      ["serving", 0],
      ["serving", 60],
      ["serving", 120],
      ["lagging", 180],
      ["lagging", 240],
    ]);
  });

  it("is measured against the primary, so a dead stream does not hide it", () => {
    const series = new Series();
    // Everything that was received has been replayed, but nothing has arrived for a long time.
    series.run([behind("a", 300 * megabyte, 500, { receiver: null }), replica("b")]);
    expect(series.replicas.a).toMatchObject({ state: "lagging", lagBytes: 300 * megabyte });
    expect(series.replicas.a?.reason).toBe(
      "it is behind by 300 MiB of WAL and 8 min, but it receives no WAL stream; the limit is 256 MiB",
    );
  });

  it("counts from the primary's last word to a replica that still streams, when we cannot reach the primary", () => {
    const series = new Series();
    series.run([replica("a"), replica("b")]);
    const streaming = { status: "streaming", latestEndLsn: lsn(walEnd + 300 * megabyte), timeline: 1 };
    series.run(
      [
        replica("a", { receiver: { ...streaming, lastMessageAgeSeconds: 2 } }),
        replica("b", {
          replayLsn: lsn(walEnd + 300 * megabyte),
          receiver: { ...streaming, lastMessageAgeSeconds: 2 },
        }),
      ],
      deadPrimary,
    );
    expect(series.replicas.a).toMatchObject({ state: "lagging", lagBytes: 300 * megabyte });
    expect(series.replicas.b).toMatchObject({ state: "serving", lagBytes: 0, lagSeconds: 0 });
  });

  it("is unknown without the primary and without a live stream; who served goes on", () => {
    const series = new Series();
    series.run([replica("a"), replica("b", { receiver: null })]);
    const lastSeen = series.document?.publishedAt;
    series.run([replica("a", { receiver: null }), dead("b")], deadPrimary);
    expect(series.replicas.a).toMatchObject({
      state: "serving",
      weight: 100,
      lagBytes: null,
      lagSeconds: null,
      caughtUpAt: lastSeen,
      reason: `its lag cannot be known while the primary is unreachable and no WAL arrives; it last had everything at ${lastSeen}`,
    });
    expect(series.document?.primary).toMatchObject({ reachable: false, servesReads: false });
  });

  it("keeps a replica out that lagged, and watches one that came back, while nobody knows their lag", () => {
    const series = new Series({ warmUpSeconds: 120 });
    series.run([behind("a", 300 * megabyte, 10), dead("b"), replica("c")]);
    const cut = { receiver: null };
    const states = [1, 2, 3, 4].map(() => {
      // All three have replayed to the same point; what lies beyond it only the primary knew.
      series.run([replica("a", cut), replica("b", cut), replica("c", cut)], deadPrimary);
      return [series.state("a"), series.state("b"), series.state("c")];
    });
    expect(states).toEqual([
      ["lagging", "warming", "serving"],
      ["lagging", "warming", "serving"],
      ["lagging", "serving", "serving"],
      ["lagging", "serving", "serving"],
    ]);
  });

  it("does not believe a stream that has been silent for minutes", () => {
    const series = new Series();
    series.run([replica("a")]);
    const silent = {
      status: "streaming",
      latestEndLsn: lsn(walEnd),
      lastMessageAgeSeconds: 600,
      timeline: 1,
    };
    series.run([replica("a", { receiver: silent })], deadPrimary);
    expect(series.replicas.a).toMatchObject({ state: "serving", lagBytes: null });
  });

  it("counts at least the distance to the replica that is furthest, without the primary", () => {
    const series = new Series();
    series.run([replica("a"), replica("b")]);
    series.run(
      [behind("a", 300 * megabyte, 10, { receiver: null }), replica("b", { receiver: null })],
      deadPrimary,
    );
    expect(series.state("a")).toBe("lagging");
    expect(series.state("b")).toBe("serving");
  });

  it("sends no reads where replay is paused, because it will only fall behind", () => {
    const series = new Series();
    series.run([replica("a"), replica("b")]);
    series.run([replica("a", { replayPaused: true }), replica("b")]);
    expect(series.replicas.a).toMatchObject({
      state: "lagging",
      weight: 0,
      reason: "its replay is paused; it is caught up so far",
    });
    expect(series.replicas.b?.weight).toBe(100);
  });
});

describe("a server that is not a standby of this primary", () => {
  it.each([
    [
      "was promoted",
      { problem: "it is not a standby any more: it takes writes of its own" },
      /not a standby/,
    ],
    [
      "belongs to another cluster",
      { systemIdentifier: "99" },
      /another cluster \(system identifier 99 instead of 71\)/,
    ],
    [
      "follows an old timeline",
      {
        receiver: { status: "streaming", latestEndLsn: lsn(walEnd), lastMessageAgeSeconds: 1, timeline: 1 },
        timeline: 2,
      },
      /timeline 1, and the primary is on 2/,
    ],
    ["does not tell its position", { replayLsn: null }, /how far it has replayed/],
  ])("does not serve when it %s", (_, changes, reason) => {
    const series = new Series();
    series.run([replica("a"), replica("b")]);
    const { timeline = 1, ...rest } = changes as { timeline?: number };
    const others = replica("b", {
      receiver: { status: "streaming", latestEndLsn: lsn(walEnd), lastMessageAgeSeconds: 1, timeline },
    });
    series.run([replica("a", rest), others], primary({ timeline }));
    expect(series.replicas.a).toMatchObject({ state: "unreachable", weight: 0 });
    expect(series.replicas.a?.reason).toMatch(reason);
    expect(series.replicas.b?.weight).toBe(100);
  });

  it("is remembered to be of another cluster while the primary is down", () => {
    const series = new Series();
    series.run([replica("a", { systemIdentifier: "99" }), replica("b")]);
    series.run([replica("a", { systemIdentifier: "99" }), replica("b")], deadPrimary);
    expect(series.document?.systemIdentifier).toBe("71");
    expect(series.state("a")).toBe("unreachable");
  });

  it("is not called a primary when the primary's address leads to a standby", () => {
    const document = new Series().run(
      [replica("a")],
      primary({ problem: "it is in recovery, so it is not a primary", walLsn: null, timeline: null }),
    );
    expect(document.primary).toMatchObject({
      reachable: false,
      reason: "it is in recovery, so it is not a primary",
    });
    expect(document.replicas[0]).toMatchObject({ state: "serving" });
  });
});

describe("coming back", () => {
  it("needs to be well for the time of warming up", () => {
    const series = new Series({ warmUpSeconds: 120 });
    const states = [replica("a"), dead("a"), replica("a"), replica("a"), replica("a"), replica("a")].map(
      (probe) => {
        series.run([probe, replica("b")]);
        return series.state("a");
      },
    );
    expect(states).toEqual(["serving", "unreachable", "warming", "warming", "serving", "serving"]);
  });

  it("is at once when no warm-up is wanted", () => {
    const series = new Series({ warmUpSeconds: 0 });
    for (const probe of [replica("a"), dead("a"), replica("a")]) series.run([probe, replica("b")]);
    expect(series.replicas.a).toMatchObject({ state: "serving", weight: 50 });
  });

  it("does not cost another period when a run comes a little early", () => {
    const series = new Series({ warmUpSeconds: 60 });
    for (const probe of [replica("a"), dead("a"), replica("a")]) series.run([probe, replica("b")]);
    series.run([replica("a"), replica("b")], primary(), 59.2);
    expect(series.state("a")).toBe("serving");
  });

  it("starts anew when it falls behind while warming up", () => {
    const series = new Series({ warmUpSeconds: 120 });
    const probes = [
      replica("a"),
      dead("a"),
      replica("a"),
      behind("a", 100 * megabyte, 50),
      replica("a"),
      replica("a"),
    ];
    const states = probes.map((probe) => {
      series.run([probe, replica("b")]);
      return series.state("a");
    });
    expect(states).toEqual(["serving", "unreachable", "warming", "lagging", "warming", "warming"]);
  });

  it("needs less lag than going away, in seconds and in bytes", () => {
    const series = new Series({ warmUpSeconds: 0 });
    const lags: [number, number][] = [
      [0, 0],
      [200 * megabyte, 100],
      [300 * megabyte, 130],
      [200 * megabyte, 100],
      [1 * megabyte, 40],
      [100 * megabyte, 10],
      [1 * megabyte, 10],
    ];
    const states = lags.map(([bytes, seconds]) => {
      series.run([behind("a", bytes, seconds), replica("b")]);
      return series.state("a");
    });
    expect(states).toEqual(["serving", "serving", "lagging", "lagging", "lagging", "lagging", "serving"]);
  });

  it("makes a replica warm up that was added later", () => {
    const series = new Series();
    series.run([replica("a")]);
    series.run([replica("a"), replica("b")]);
    expect([series.state("a"), series.state("b")]).toEqual(["serving", "warming"]);
    expect(series.replicas.b?.reason).toContain("is watched for 60 s before it serves");
  });

  it("forgets a replica that was removed", () => {
    const series = new Series();
    series.run([replica("a"), replica("b")]);
    series.run([replica("b")]);
    expect(series.document?.replicas.map(({ name, weight }) => [name, weight])).toEqual([["b", 100]]);
  });
});

describe("when no replica serves", () => {
  const bad = [behind("a", 300 * megabyte, 300), behind("b", 400 * megabyte, 400)];

  it("falls back to the primary as last resort", () => {
    const document = new Series().run(bad);
    expect(document.primary).toMatchObject({
      servesReads: true,
      reason: "no replica serves, and it is the last resort",
    });
    expect(document.replicas.map(({ weight }) => weight)).toEqual([0, 0]);
    expect(document.reason).toBe("none of 2 replicas may serve, so the primary serves reads");
  });

  it("lets the least lagging replica go on when the primary never may", () => {
    const series = new Series({ primaryServesReads: "never" });
    const document = series.run(bad);
    expect(document.primary).toMatchObject({ reachable: true, servesReads: false });
    expect(series.replicas.a).toMatchObject({ state: "serving", weight: 100, lagSeconds: 300 });
    expect(series.replicas.a?.reason).toMatch(/^no other server may serve: it is behind by 300 MiB/);
    expect(series.replicas.b).toMatchObject({ state: "lagging", weight: 0 });
    expect(document.reason).toBe("no server is fit to serve reads; a is the least bad");
  });

  it("does not alternate between two that lag alike", () => {
    const series = new Series({ primaryServesReads: "never" });
    const chosen = [
      [300, 310],
      [310, 300],
      [500, 320],
      [800, 350],
    ].map(([a = 0, b = 0]) => {
      series.run([behind("a", a * megabyte, a), behind("b", b * megabyte, b)]);
      return series.document?.replicas.find(({ weight }) => weight > 0)?.name;
    });
    expect(chosen).toEqual(["a", "a", "a", "b"]);
  });

  it("lets those serve that are still warming up, rather than one that lags", () => {
    const series = new Series({ primaryServesReads: "never", warmUpSeconds: 600 });
    series.run([dead("a"), behind("b", 300 * megabyte, 300)]);
    series.run([replica("a"), behind("b", 300 * megabyte, 300)]);
    expect([series.state("a"), series.state("b")]).toEqual(["serving", "lagging"]);
  });

  it("does the same while the primary is down, whatever the policy", () => {
    const series = new Series();
    series.run([replica("a"), replica("b")]);
    series.run([behind("a", 300 * megabyte, 300, { replayPaused: true }), dead("b")], deadPrimary);
    expect(series.replicas.a).toMatchObject({ state: "serving", weight: 100 });
  });

  it("lets the primary serve beside the replicas when it always may", () => {
    const document = new Series({ primaryServesReads: "always" }).run([replica("a")]);
    expect(document.primary.servesReads).toBe(true);
    expect(document.replicas[0]?.weight).toBe(100);
  });

  it("names no server when each is unfit, and says so", () => {
    const document = new Series({ primaryServesReads: "never" }).run([dead("a"), dead("b")]);
    expect(document.reason).toBe("none of 2 replicas may serve, and neither may the primary");
    expect(document.replicas.map(({ name, weight }) => [name, weight])).toEqual([
      ["a", 0],
      ["b", 0],
    ]);
  });
});

describe("when no server answers", () => {
  it("keeps the previous document, version and time included", () => {
    const series = new Series();
    const before = series.run([replica("a"), replica("b")]);
    const kept = series.run([dead("a"), dead("b")], deadPrimary);
    expect(kept).toEqual({
      ...before,
      basis: "kept",
      reason: `no server could be probed, so what was decided at ${before.publishedAt} stands; the primary: cannot reach primary:5432`,
    });
  });

  it("assumes a first document with the primary's address, and then serves at once what is well", () => {
    const series = new Series();
    const assumed = series.run([dead("a")], deadPrimary);
    expect(assumed).toMatchObject({
      version: 1,
      basis: "assumed",
      reason:
        "no server could be probed, and nothing was decided before; the primary: cannot reach primary:5432",
      primary: { endpoint: { host: "primary", port: 5432 }, reachable: false, servesReads: false },
      replicas: [{ name: "a", state: "unreachable", weight: 0 }],
    });
    expect(series.run([dead("a")], deadPrimary).version).toBe(1);
    expect(series.run([replica("a")])).toMatchObject({
      version: 2,
      replicas: [{ state: "serving", weight: 100 }],
    });
  });
});

describe("endpoints", () => {
  const pooledEndpoint = { host: "pooler", port: 6432 };

  it("are the pooler's while it answers, else the server's own, with a word about it", () => {
    const series = new Series();
    series.run(
      [replica("a", { pooledEndpoint, pooledAnswers: true })],
      primary({ pooledEndpoint, pooledAnswers: true }),
    );
    expect(series.replicas.a).toMatchObject({ endpoint: pooledEndpoint, via: "pooler" });
    expect(series.document?.primary).toMatchObject({ endpoint: pooledEndpoint, via: "pooler" });
    series.run(
      [replica("a", { pooledEndpoint, pooledAnswers: false })],
      primary({ pooledEndpoint, pooledAnswers: false }),
    );
    expect(series.replicas.a).toMatchObject({
      endpoint: { host: "a", port: 5432 },
      via: "direct",
      state: "serving",
      reason:
        "it has replayed all that the primary has written; its pooler does not answer, so this is the server's own endpoint",
    });
    expect(series.document?.primary).toMatchObject({
      endpoint: { host: "primary", port: 5432 },
      via: "direct",
    });
    expect(series.document?.primary.reason).toContain("its pooler does not answer");
  });
});

describe("times", () => {
  it("count the version up and keep `since` while the state stays", () => {
    const series = new Series();
    const first = series.run([replica("a")]);
    const second = series.run([replica("a")]);
    expect([first.version, second.version]).toEqual([1, 2]);
    expect(second.replicas[0]?.since).toBe(first.publishedAt);
    expect(series.run([dead("a")]).replicas[0]?.since).toBe(series.now.toISOString());
  });

  it("start anew when the clock was set back, so that warming up still ends", () => {
    const series = new Series({ warmUpSeconds: 60 });
    for (const probe of [replica("a"), dead("a"), replica("a")]) series.run([probe, replica("b")]);
    const states = [-86_400, 60, 60].map((seconds) => {
      series.run([replica("a"), replica("b")], primary(), seconds);
      return [series.state("a"), (series.replicas.a?.since ?? "") <= series.now.toISOString()];
    });
    expect(states).toEqual([
      ["warming", true],
      ["serving", true],
      ["serving", true],
    ]);
    expect(series.document?.version).toBe(6);
  });

  it("follow the schedule: a document is good for three periods", () => {
    const series = new Series();
    series.config.schedules["route-replicas"] = "*/5 * * * *";
    expect(series.run([]).validForSeconds).toBe(900);
    series.config.schedules["route-replicas"] = "off";
    expect(series.run([]).validForSeconds).toBe(180);
  });
});
