import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import { pageText } from "../../lib/alarms/page/text.ts";
import { explain, type ToldTransition } from "../../lib/jobs/explain-alarm.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { sandboxDatabases } from "../../lib/sandbox/databases.ts";
import type { Fault } from "../../lib/sandbox/faults/fault.ts";
import { faultNamed } from "../../lib/sandbox/faults/index.ts";
import type { SandboxState } from "../../lib/sandbox/state.ts";
import { shopAlarm, shopConfig } from "../alarms/page/pages.ts";
import { defaultMajor } from "../helpers/postgres.ts";
import { useShopSandbox } from "../helpers/shop-sandbox.ts";

const config = {
  ...shopConfig,
  health: {
    ...shopConfig.health,
    idleInTransactionSeconds: 1,
    blockedSeconds: 0,
    longQueryWarnSeconds: 0,
    longQueryTicketSeconds: 1,
  },
};

const told = (name: string, given: Partial<ToldTransition> = {}): ToldTransition => ({
  alarm: shopAlarm(name),
  to: "ALARM",
  since: new Date("2026-11-21T18:03:00Z"),
  evaluation: { value: 12 },
  ...given,
});

describe("the page of an alarm that fires", () => {
  const sandbox = useShopSandbox(defaultMajor);
  const pageOf = (transition: ToldTransition, state: SandboxState = sandbox.state) =>
    explain({ environment: { ports: sandboxDatabases(state), config }, transition });

  const withFault = async (name: string, body: (details: Record<string, unknown>) => Promise<void>) => {
    const fault = faultNamed(name) as Fault;
    const { details } = await fault.apply(sandbox.context);
    try {
      await body(details);
    } finally {
      await fault.repair(sandbox.context);
    }
  };

  it("names the root of a pile-up of locks, and whose sessions it holds up", async () => {
    await withFault("lock-pile-up", async ({ rootPid, blockedPids }) => {
      const page = await pageOf(told("blocked-sessions"));
      expect(page).toMatchObject({
        cause: {
          from: "look",
          text: expect.stringContaining(`pid ${rootPid}, idle in transaction) holds up`),
        },
        evidence: {
          rootPid,
          user: expect.any(String),
          ageSeconds: expect.any(Number),
          statement: expect.stringContaining("select ? from shop.warehouses where id = $1"),
          sessionsHeldUp: (blockedPids as number[]).length,
        },
        blastRadius: expect.stringMatching(/^database shop: .*; now \d+ sessions of /),
        command: "npx pgkeep health",
      });
      expect(pageText(page).split("\n").at(-2)).toBe("run: npx pgkeep health");
    });
  });

  it("names the slot that nothing reads", async () => {
    await withFault("abandon-slot", async ({ slot }) => {
      const page = await pageOf(told("inactive-slots"));
      expect(page.evidence).toMatchObject({ slot, active: false });
      expect(page.cause).toEqual({ from: "look", text: expect.stringContaining(`"${slot}"`) });
    });
  });

  it("looks at the replica that the alarm is about, too", async () => {
    const { state } = sandbox;
    const [replica] = state.replicas;
    const slow = await connect({
      host: "127.0.0.1",
      port: replica?.port ?? 0,
      database: state.database,
      ...state.application.reporting,
      applicationName: "a long report",
    });
    const running = slow.query("select pg_sleep(20), 'secret'").catch(() => {});
    try {
      const page = await pageOf(told("replica-lag-replica-1"));
      const said = [page.cause.text, ...page.also].join("\n");
      expect(said).toMatch(/on replica-1: a statement of ".*" \("a long report", pid \d+\) has been running/);
      expect(JSON.stringify(page)).not.toContain("secret");
      expect(page.blastRadius).toContain("readers of replica-1");
    } finally {
      await sandbox.as(
        (session) =>
          session.query(
            "select pg_terminate_backend(pid) from pg_stat_activity where query like '%secret%' and pid <> pg_backend_pid()",
          ),
        { port: replica?.port ?? 0 },
      );
      await running;
      await slow.close().catch(() => {});
    }
  });

  it("says why a database cannot be reached, and throws nothing", async () => {
    const nowhere = { ...sandbox.state, primary: { ...sandbox.state.primary, port: 1 } };
    const page = await pageOf(told("database-down"), nowhere);
    expect(page).toMatchObject({
      cause: { from: "look", text: expect.stringMatching(/^the primary cannot be reached: /) },
      evidence: { answers: false },
      unseen: ["nothing could be looked at in the database"],
    });
    expect(JSON.stringify(page)).not.toContain(sandbox.state.roles.monitoring.password);
  });

  it("waits for a server that does not answer no longer than a look may take", async () => {
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as { port: number };
    const began = performance.now();
    const page = await pageOf(told("cpu-high"), {
      ...sandbox.state,
      primary: { ...sandbox.state.primary, port },
    });
    silent.close();
    expect(performance.now() - began).toBeLessThan(15_000);
    expect(page.cause.text).toMatch(/cannot be reached/);
  });

  it("looks at nothing when it is over", async () => {
    const page = await pageOf(told("blocked-sessions", { to: "OK", evaluation: {} }), {
      ...sandbox.state,
      primary: { ...sandbox.state.primary, port: 1 },
    });
    expect(page).toMatchObject({
      state: "ok",
      key: "pgkeep/shop/blocked-sessions",
      unseen: [],
      evidence: {},
    });
  });
});
