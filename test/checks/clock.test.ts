import { describe, expect, it } from "vitest";
import { clock } from "../../lib/checks/clock.ts";
import { checkHealth } from "../../lib/checks/health.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { useServer } from "../helpers/postgres.ts";
import { configWith, metricOf } from "./helpers.ts";

describe("the clocks of the server and of whoever asks", () => {
  const server = useServer();

  /** As whoever is so many seconds ahead of the real time sees it. */
  async function seenBy(aheadSeconds: number, session: Session, limit = 10) {
    const report = await checkHealth({
      session,
      config: configWith({ health: { clockSkewSeconds: limit } }),
      now: new Date(Date.now() + aheadSeconds * 1000),
      checks: [clock],
    });
    return { skew: metricOf(report.metrics, "ClockSkewSeconds"), ...report.results[0] };
  }

  it("agree on one machine", async () => {
    const session = await server.connect("postgres");
    const { skew, verdict, facts } = await seenBy(0, session);
    expect(verdict).toBe("pass");
    // On a busy machine the answer is late, and then by no more than it was late.
    expect(skew).toBeLessThan(Number(facts?.uncertainSeconds) + 0.05);
    await session.close();
  });

  it.each([
    ["behind", 30, "behind"],
    ["ahead", -30, "ahead of"],
  ])("are apart when the server's is %s, by as much as it is", async (_, ahead, word) => {
    const session = await server.connect("postgres");
    const { skew, findings } = await seenBy(ahead, session);
    expect(skew).toBeGreaterThan(29);
    expect(skew).toBeLessThan(31);
    expect(findings?.map(({ title, severity }) => [title, severity])).toEqual([
      [expect.stringContaining(`clock is 30 s ${word} the one here`), "medium"],
    ]);
    expect((await seenBy(ahead, session, 60)).findings).toEqual([]);
    await session.close();
  });

  it("are not taken for apart because the answer was slow", async () => {
    const session = await server.connect("postgres");
    const slow = Object.create(session, {
      query: {
        value: async (sql: string, values?: readonly unknown[]) => {
          const pause = () => new Promise((resolve) => setTimeout(resolve, sql.includes("epoch") ? 400 : 0));
          await pause();
          const rows = await session.query(sql, values);
          await pause();
          return rows;
        },
      },
    }) as Session;
    const { skew, facts } = await seenBy(0, slow);
    expect(facts?.uncertainSeconds).toBeGreaterThanOrEqual(0.4);
    expect(skew).toBeLessThan(0.75 * Number(facts?.uncertainSeconds));
    await session.close();
  });
});
