import { describe, expect, it } from "vitest";
import { constraintChecks } from "../../../lib/checks/constraints/index.ts";
import { indexChecks } from "../../../lib/checks/indexes/index.ts";
import { unusedIndexesWithin } from "../../../lib/checks/indexes/unused-indexes.ts";
import { flushStatistics, runCheck, runChecks, useStandby } from "../../helpers/review.ts";

const anyAge = unusedIndexesWithin({ shortestDays: 0, enoughDays: 0, forgottenDays: 180, smallestBytes: 0 });

describe("a primary with a standby", () => {
  const pair = useStandby();

  it("calls an index unused only when the standby does not use it either", async () => {
    const { primary, standby } = pair;
    await primary.query("create table public.t (a int, b int)");
    await primary.query("insert into public.t select g, g from generate_series(1, 100) g");
    await primary.query("create index t_a on public.t (a)");
    await primary.query("create index t_b on public.t (b)");
    await pair.caughtUp();
    await standby.query("set enable_seqscan = off");
    await standby.query("select * from public.t where a = 3");
    await flushStatistics(standby);
    const alone = await runCheck(anyAge, primary);
    expect(alone.findings.map(({ object }) => object.index).sort()).toEqual(["t_a", "t_b"]);
    expect(alone.findings[0]).toMatchObject({ confidence: "suspected", evidence: { standbysNotAsked: 1 } });
    expect(alone.findings[0]?.impact).toContain(
      "1 standby not asked, with queries of its own: name it with --replica.",
    );
    const asked = await runCheck(anyAge, primary, { replicas: [{ name: "replica-1", session: standby }] });
    expect(asked.findings).toMatchObject([
      { object: { index: "t_b" }, evidence: { replicasAsked: ["replica-1"], standbysNotAsked: 0 } },
    ]);
  });

  it("lets every check of indexes and constraints be asked on the standby", async () => {
    const { results } = await runChecks([...indexChecks, ...constraintChecks], pair.standby);
    const unused = results.find(({ check }) => check === "unused-indexes");
    expect(unused).toMatchObject({
      verdict: "not-assessable",
      reason: "a standby cannot tell: ask the primary",
    });
  });
});
