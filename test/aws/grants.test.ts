import { CreateHostedZoneCommand } from "@aws-sdk/client-route-53";
import { beforeAll, describe, expect, it } from "vitest";
import { rdsBackups } from "../../lib/aws/backups.ts";
import { awsClients } from "../../lib/aws/clients.ts";
import { type GrantStatement, grants } from "../../lib/aws/grants.ts";
import type { PlatformResources } from "../../lib/aws/resources.ts";
import { ssmRouting } from "../../lib/aws/routing.ts";
import type { Backups } from "../../lib/ports/backups.ts";
import { type RecordedCall, recordCalls } from "../helpers/aws-calls.ts";
import { type CloudCall, cloudCallsOf, deniedBy, smallerBy } from "../helpers/cloud-calls.ts";
import { motoCredentials, noMoto, useMoto } from "../helpers/moto.ts";
import { makePlatform } from "../helpers/moto-rds.ts";
import { routingDocument } from "../ports/routing.contract.ts";
import { platform } from "./platform.ts";

const window = { earliest: new Date("2026-01-01T00:00:00Z"), latest: new Date(Date.now() + 86_400_000) };

describe.skipIf(noMoto !== undefined)(`grants${noMoto === undefined ? "" : ` (${noMoto})`}`, () => {
  const moto = useMoto();

  /** Everything that jobs do with backups, one after the other. */
  async function everyJob(backups: Backups): Promise<void> {
    await backups.create("pgkeep-shop-20260101");
    await backups.create("pgkeep-shop-20260101");
    await backups.list();
    await backups.recoveryWindow();
    await backups.restored?.();
    const request = { name: "drill-20260101t000000z-abc123", target: { kind: "latest" } } as const;
    for (let poll = 0; poll < 3; poll += 1) await backups.restore(request);
    await backups.discard(request.name);
    await backups.markVerified("pgkeep-shop-20260101", new Date());
    await backups.remove("pgkeep-shop-20260101");
  }

  async function recorded(
    resources: PlatformResources,
    act: (clients: ReturnType<typeof awsClients>) => Promise<void>,
  ): Promise<RecordedCall[]> {
    const { calls, record } = recordCalls();
    const clients = awsClients({
      region: resources.region,
      endpoint: moto.endpoint,
      credentials: motoCredentials,
      configure: (client) => {
        record(client);
        openWindow(client);
      },
    });
    await act(clients);
    return calls;
  }

  async function backupCalls(given: PlatformResources): Promise<{
    calls: CloudCall[];
    statements: GrantStatement[];
  }> {
    await moto.reset();
    const setUp = awsClients({ region: given.region, endpoint: moto.endpoint, credentials: motoCredentials });
    const resources = await makePlatform(moto.endpoint, setUp.rds(), given);
    const calls = await recorded(resources, (clients) => everyJob(rdsBackups(clients, resources)));
    return {
      calls: cloudCallsOf(calls, resources),
      statements: grants.backups(resources, "monitoring").statements,
    };
  }

  describe.each([
    ["an instance", platform()],
    ["an instance with copies elsewhere", platform({ copyToRegions: ["eu-central-1"] })],
    ["Aurora", platform({ topology: "aurora" })],
  ] as const)("backups of %s", (_, resources) => {
    let calls: CloudCall[] = [];
    let statements: GrantStatement[] = [];
    beforeAll(async () => {
      ({ calls, statements } = await backupCalls(resources));
    }, 60_000);

    it("may do what the jobs do", async () => {
      expect(calls.length).toBeGreaterThan(20);
      expect(await deniedBy(statements, calls)).toEqual([]);
    });

    it("may do nothing that no job does", async () => {
      expect(await superfluous(statements, calls)).toEqual([]);
    });
  });

  describe("backups", () => {
    const resources = platform();
    const { statements } = grants.backups(resources, "monitoring");
    const own = { "aws:ResourceTag/pgkeep:database": "shop" };
    const rds = (name: string) => `arn:aws:rds:eu-west-1:123456789012:${name}`;

    it.each<[string, string, string, CloudCall["context"]]>([
      ["delete the primary", "rds:DeleteDBInstance", "db:pgkeep-shop-primary", own],
      [
        "delete it although somebody tagged it as restored",
        "rds:DeleteDBInstance",
        "db:pgkeep-shop-primary",
        { ...own, "aws:ResourceTag/pgkeep:restored-for": "drill" },
      ],
      [
        "delete an untagged instance with a drill's name",
        "rds:DeleteDBInstance",
        "db:pgkeep-shop-drill-1",
        {},
      ],
      ["modify the primary", "rds:ModifyDBInstance", "db:pgkeep-shop-primary", own],
      [
        "tag the primary",
        "rds:AddTagsToResource",
        "db:pgkeep-shop-primary",
        { "aws:RequestTag/pgkeep:restored-for": "drill", "aws:RequestTag/pgkeep:database": "shop" },
      ],
      [
        "delete a pinned snapshot",
        "rds:DeleteDBSnapshot",
        "snapshot:pgkeep-shop-20260101",
        { ...own, "aws:ResourceTag/pgkeep:pinned": "audit" },
      ],
      ["delete an untagged snapshot", "rds:DeleteDBSnapshot", "snapshot:pgkeep-shop-20260101", {}],
      [
        "delete the snapshot of a key that begins alike",
        "rds:DeleteDBSnapshot",
        "snapshot:pgkeep-shop-eu-20260101",
        { "aws:ResourceTag/pgkeep:database": "shop-eu" },
      ],
      ["delete a foreign snapshot", "rds:DeleteDBSnapshot", "snapshot:made-by-hand", own],
      ["unpin", "rds:RemoveTagsFromResource", "snapshot:pgkeep-shop-20260101", own],
      [
        "claim a foreign snapshot",
        "rds:AddTagsToResource",
        "snapshot:made-by-hand",
        { "aws:RequestTag/pgkeep:database": "shop", "aws:TagKeys": ["pgkeep:database"] },
      ],
      ["share a snapshot", "rds:ModifyDBSnapshotAttribute", "snapshot:pgkeep-shop-20260101", own],
    ])("may not %s", async (_, action, name, context) => {
      const call = { action, resource: rds(name), context };
      expect(await deniedBy(statements, [call])).toEqual([call]);
    });

    it("are narrower for a step that says what it calls", async () => {
      const { statements: prune } = grants.backups(resources, "monitoring", ["list", "remove"]);
      expect(prune.flatMap(({ actions }) => actions).sort()).toEqual([
        "rds:DeleteDBSnapshot",
        "rds:DeleteDBSnapshot",
        "rds:DescribeDBSnapshots",
      ]);
    });
  });

  describe("routing", () => {
    let resources = platform();
    let calls: CloudCall[] = [];
    beforeAll(async () => {
      await moto.reset();
      const setUp = awsClients({
        region: "eu-west-1",
        endpoint: moto.endpoint,
        credentials: motoCredentials,
      });
      const made = await setUp
        .route53()
        .send(new CreateHostedZoneCommand({ Name: "shop.internal", CallerReference: "test" }));
      resources = platform({
        readerDns: {
          hostedZoneId: made.HostedZone?.Id?.split("/").at(-1) ?? "",
          recordName: "read.shop.internal",
        },
      });
      calls = cloudCallsOf(
        await recorded(resources, async (clients) => {
          const routing = ssmRouting(clients, resources);
          await routing.read();
          for (let version = 1; version <= 22; version += 1) {
            await routing.publish(routingDocument(version), version === 1 ? undefined : version - 1);
          }
        }),
        resources,
      );
    }, 60_000);

    it("may do what the job does, and nothing that it does not", async () => {
      const { statements } = grants.routing(resources, "monitoring");
      const distinct = [...new Map(calls.map((call) => [`${call.action} ${call.resource}`, call])).values()];
      expect(await deniedBy(statements, distinct)).toEqual([]);
      // A path can be asked for by itself or by what is below it; AWS checks one of them.
      expect(await superfluous(statements, distinct)).toEqual([
        "ListVersions: arn:aws:ssm:eu-west-1:123456789012:parameter/pgkeep/shop/routing/versions/*",
      ]);
    });

    it.each<[string, string, string, CloudCall["context"]]>([
      [
        "overwrite a version",
        "ssm:PutParameter",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/pgkeep/shop/routing/versions/0000000001",
        { "ssm:Overwrite": "true" },
      ],
      [
        "publish for another database",
        "ssm:PutParameter",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/pgkeep/other/routing",
        { "ssm:Overwrite": "true" },
      ],
      [
        "delete the document",
        "ssm:DeleteParameters",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/pgkeep/shop/routing",
        {},
      ],
    ])("may not %s", async (_, action, resource, context) => {
      const call = { action, resource, context };
      expect(await deniedBy(grants.routing(resources, "monitoring").statements, [call])).toEqual([call]);
    });

    it("may not change another record of the zone", async () => {
      const call = {
        action: "route53:ChangeResourceRecordSets",
        resource: `arn:aws:route53:::hostedzone/${resources.readerDns?.hostedZoneId}`,
        context: {
          "route53:ChangeResourceRecordSetsNormalizedRecordNames": ["write.shop.internal"],
          "route53:ChangeResourceRecordSetsRecordTypes": ["CNAME"],
          "route53:ChangeResourceRecordSetsActions": ["UPSERT"],
        },
      };
      expect(await deniedBy(grants.routing(resources, "monitoring").statements, [call])).toEqual([call]);
    });
  });
});

describe("logging in", () => {
  const connect = (user: string, id = "db-AAAA"): CloudCall => ({
    action: "rds-db:connect",
    resource: `arn:aws:rds-db:eu-west-1:123456789012:dbuser:${id}/${user}`,
    context: {},
  });

  it("is for one role on the database's own servers", async () => {
    const { statements } = grants.primary(platform(), "monitoring");
    const others = [
      connect("pgkeep_maintenance"),
      connect("postgres"),
      connect("pgkeep_monitoring", "db-ELSEWHERE"),
    ];
    expect(
      await deniedBy(statements, [
        connect("pgkeep_monitoring"),
        connect("pgkeep_monitoring", "db-BBBB"),
        ...others,
      ]),
    ).toEqual(others);
  });

  it("reaches a restored instance as the drill's role only", async () => {
    expect(grants.restored(platform(), "maintenance").statements).toEqual([]);
    const { statements } = grants.restored(platform(), "drill");
    expect(await deniedBy(statements, [connect("pgkeep_drill", "db-NEW")])).toEqual([]);
    const other = connect("pgkeep_maintenance", "db-NEW");
    expect(await deniedBy(statements, [other])).toEqual([other]);
  });
});

/** What can be taken from the statements without denying one of the calls. */
async function superfluous(
  statements: readonly GrantStatement[],
  calls: readonly CloudCall[],
): Promise<string[]> {
  const distinct = [...new Map(calls.map((call) => [JSON.stringify(call), call])).values()];
  const found: string[] = [];
  for (const smaller of smallerBy(statements)) {
    if ((await deniedBy(smaller.statements, distinct)).length === 0) found.push(smaller.without);
  }
  return found;
}

/** The emulator has automated backups without a restore window, which is all that is added here. */
function openWindow(given: unknown): void {
  const client = given as {
    middlewareStack: {
      add(
        middleware: (
          next: (args: unknown) => Promise<{ output: Record<string, unknown> }>,
          context: { commandName?: string },
        ) => (args: unknown) => Promise<{ output: Record<string, unknown> }>,
        options: { step: "initialize"; name: string },
      ): void;
    };
  };
  client.middlewareStack.add(
    (next, { commandName }) =>
      async (args) => {
        const result = await next(args);
        if (commandName === "DescribeDBInstanceAutomatedBackupsCommand") {
          result.output.DBInstanceAutomatedBackups = [
            { Status: "active", RestoreWindow: { EarliestTime: window.earliest, LatestTime: window.latest } },
          ];
        }
        if (commandName === "DescribeDBClustersCommand") {
          for (const cluster of (result.output.DBClusters ?? []) as Record<string, unknown>[]) {
            cluster.EarliestRestorableTime = window.earliest;
            cluster.LatestRestorableTime = window.latest;
          }
        }
        return result;
      },
    { step: "initialize", name: "openWindow" },
  );
}
