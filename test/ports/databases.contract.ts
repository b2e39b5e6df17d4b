import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import type { Primary, Replicas, Restored } from "../../lib/ports/databases.ts";

export interface DatabasePorts {
  primary: Primary;
  /** At least one, streaming. */
  replicas: Replicas;
  restored: Restored;
}

/** What every adapter of the ports Primary, Replicas and Restored must do; `ports` is called inside tests. */
export function databasesContract(ports: () => DatabasePorts): void {
  describe("the primary", () => {
    it("lets each role in as a login of its own, writable, none of them a superuser", async () => {
      const users = new Set<string>();
      for (const role of ["monitoring", "maintenance", "drill"] as const) {
        const session = await ports().primary.connect({ role });
        users.add(session.user);
        expect(session.isSuperuser).toBe(false);
        expect(session.isStandby).toBe(false);
        await session.close();
      }
      expect(users.size).toBe(3);
    });

    it("limits statements and waits for locks as asked, and within reason when not asked", async () => {
      const limits = async (options: Parameters<Primary["connect"]>[0]) => {
        const session = await ports().primary.connect(options);
        const rows = await session.query(
          "select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock",
        );
        await session.close();
        return rows[0];
      };
      expect(await limits({ role: "monitoring" })).toEqual({ statement: "30s", lock: "2s" });
      expect(
        await limits({ role: "monitoring", statementTimeoutMilliseconds: 0, lockTimeoutMilliseconds: 500 }),
      ).toEqual({ statement: "0", lock: "500ms" });
    });

    it("stops a running statement when the signal is aborted", async () => {
      const controller = new AbortController();
      const session = await ports().primary.connect({ role: "monitoring", signal: controller.signal });
      const sleeping = session.query("select pg_sleep(60)");
      const outcome = expect(sleeping).rejects.toThrow("enough");
      setTimeout(() => controller.abort(new Error("enough")), 50);
      await outcome;
      await session.close();
    });
  });

  describe("replicas", () => {
    it("are standbys with names and endpoints of their own, where writing is refused", async () => {
      const servers = await ports().replicas.list();
      expect(servers.length).toBeGreaterThan(0);
      expect(new Set(servers.map(({ name }) => name)).size).toBe(servers.length);
      for (const server of servers) {
        expect(server.endpoint).not.toEqual(ports().primary.endpoint);
        const session = await server.connect({ role: "monitoring" });
        expect(session.isStandby).toBe(true);
        await expect(session.query("create table public.refused ()")).rejects.toMatchObject({
          code: "read-only",
        });
        await session.close();
      }
    });

    it("answer when they speak the protocol, and not when somebody only accepts connections", async () => {
      const { replicas, primary } = ports();
      expect(await replicas.answers(primary.endpoint, 5_000)).toBe(true);
      const mute = createServer((socket) => socket.on("error", () => {}).resume());
      await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
      const address = mute.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      const began = Date.now();
      expect(await replicas.answers({ host: "127.0.0.1", port }, 200)).toBe(false);
      expect(Date.now() - began).toBeLessThan(15_000);
      await new Promise((resolve) => mute.close(resolve));
      expect(await replicas.answers({ host: "127.0.0.1", port }, 200)).toBe(false);
    });
  });

  it("restored databases are reached by their endpoint", async () => {
    const { restored, primary } = ports();
    const session = await restored.connect(primary.endpoint, { role: "drill" });
    expect(session.isStandby).toBe(false);
    await session.close();
    await expect(restored.connect({ host: "127.0.0.1", port: 1 }, { role: "drill" })).rejects.toMatchObject({
      code: "unreachable",
    });
  });
}
