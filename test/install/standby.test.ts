import { describe, expect, it } from "vitest";
import { applyInstall } from "../../lib/install/apply.ts";
import { auditRoles } from "../../lib/install/audit.ts";
import { configFor } from "../helpers/config.ts";
import { defaultMajor } from "../helpers/postgres.ts";
import { useShopSandbox } from "../helpers/shop-sandbox.ts";

describe("a standby", () => {
  const sandbox = useShopSandbox(defaultMajor, { replicas: 1 });

  it("is refused for an installation, and good enough for an audit", async () => {
    const { state } = sandbox;
    const port = state.replicas[0]?.port as number;
    await sandbox.as(
      async (session) => {
        expect(session.isStandby).toBe(true);
        await expect(applyInstall(session, configFor(state.database))).rejects.toMatchObject({
          code: "read-only",
          message: `cannot install pgkeep in database ${state.database}: it is a standby`,
          remedy: expect.stringContaining("connect to the primary"),
        });
        const audit = await auditRoles(session, configFor(state.database));
        expect(audit.installed).toBe(false);
        expect(audit.findings.map(({ reason }) => reason)).toContain("schema pgkeep does not exist");
      },
      { port },
    );
  });
});
