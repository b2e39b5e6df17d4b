import { describe, expect, it } from "vitest";
import { grants } from "../../lib/aws/grants.ts";
import { withoutCovered } from "../../lib/aws/grants-covered.ts";
import { asStatements } from "../helpers/cloud-calls.ts";
import { type CloudCall, deniedBy } from "../helpers/permissions.ts";
import { platform } from "./platform.ts";

// What deployed roles allow, and that runs need each part of it, is in test/stacks/least-privilege.test.ts.

describe("backups", () => {
  const resources = platform();
  const statements = asStatements(grants.backups(resources, "monitoring").statements);
  const own = { "aws:ResourceTag/pgkeep:database": "shop" };
  const rds = (name: string) => `arn:aws:rds:eu-west-1:123456789012:${name}`;

  it.each<[string, string, string, NonNullable<CloudCall["context"]>]>([
    ["delete the primary", "rds:DeleteDBInstance", "db:pgkeep-shop-primary", own],
    [
      "delete it although somebody tagged it as restored",
      "rds:DeleteDBInstance",
      "db:pgkeep-shop-primary",
      { ...own, "aws:ResourceTag/pgkeep:restored-for": "drill" },
    ],
    ["delete an untagged instance with a drill's name", "rds:DeleteDBInstance", "db:pgkeep-shop-drill-1", {}],
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
  const resources = platform({ readerDns: { hostedZoneId: "Z1", recordName: "read.shop.internal" } });
  const statements = asStatements(grants.routing(resources, "monitoring").statements);

  it.each<[string, string, string, NonNullable<CloudCall["context"]>]>([
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
    expect(await deniedBy(statements, [call])).toEqual([call]);
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
    expect(await deniedBy(statements, [call])).toEqual([call]);
  });
});

describe("logging in", () => {
  const connect = (user: string, id = "db-AAAA"): CloudCall => ({
    action: "rds-db:connect",
    resource: `arn:aws:rds-db:eu-west-1:123456789012:dbuser:${id}/${user}`,
    context: {},
  });

  it.each([
    ["primary", "db-AAAA", "db-BBBB"],
    ["replicas", "db-BBBB", "db-AAAA"],
  ] as const)(
    "to what a step needs as %s is for one role and for no other server",
    async (port, own, not) => {
      const statements = asStatements(grants[port](platform(), "monitoring").statements);
      const others = [
        connect("pgkeep_maintenance", own),
        connect("postgres", own),
        connect("pgkeep_monitoring", not),
        connect("pgkeep_monitoring", "db-ELSEWHERE"),
      ];
      expect(await deniedBy(statements, [connect("pgkeep_monitoring", own), ...others])).toEqual(others);
    },
  );

  it("is for all servers of a cluster alike, which share their id", () => {
    const cluster = platform({ topology: "aurora", resourceIds: ["cluster-AAAA"] });
    const allowed = (["primary", "replicas"] as const).map((port) =>
      grants[port](cluster, "monitoring").statements.map(({ resources }) => resources),
    );
    expect(allowed[0]).toEqual(allowed[1]);
  });

  it("to replicas is nothing where there are none", () => {
    expect(grants.replicas(platform({ resourceIds: ["db-AAAA"] }), "monitoring").statements).toEqual([]);
  });

  it("reaches a restored instance as the drill's role only", async () => {
    expect(grants.restored(platform(), "maintenance").statements).toEqual([]);
    const statements = asStatements(grants.restored(platform(), "drill").statements);
    expect(await deniedBy(statements, [connect("pgkeep_drill", "db-NEW")])).toEqual([]);
    const other = connect("pgkeep_maintenance", "db-NEW");
    expect(await deniedBy(statements, [other])).toEqual([other]);
  });
});

describe("statements without what others allow anyway", () => {
  const statement = (sid: string, actions: string[], resources: string[]) => ({ sid, actions, resources });

  it("lose the same resource, and one that a wildcard takes in", () => {
    expect(
      withoutCovered([
        statement("One", ["a:Read", "a:Write"], ["arn:x/1", "arn:*/y"]),
        statement("Same", ["a:Read"], ["arn:x/1"]),
        statement("Inside", ["a:Write"], ["arn:z/y", "arn:z/w"]),
      ]),
    ).toEqual([
      statement("One", ["a:Read", "a:Write"], ["arn:x/1", "arn:*/y"]),
      statement("Inside", ["a:Write"], ["arn:z/w"]),
    ]);
  });

  it("keep what only conditions, fewer actions or a denial take in, and characters mean themselves", () => {
    const statements = [
      { ...statement("Bound", ["a:Read"], ["*"]), conditions: { StringEquals: { tag: "x" } } },
      { ...statement("Never", ["a:Read"], ["*"]), effect: "Deny" as const },
      statement("Less", ["a:Read"], ["arn:a.c", "arn:[1]*"]),
      statement("More", ["a:Read", "a:Write"], ["arn:abc", "arn:a.c"]),
      statement("Token", ["a:Read"], ["arn:2x"]),
    ];
    expect(withoutCovered(statements)).toEqual([
      ...statements.slice(0, 2),
      statement("Less", ["a:Read"], ["arn:[1]*"]),
      ...statements.slice(3),
    ]);
  });
});
