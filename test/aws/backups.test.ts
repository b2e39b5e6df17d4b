import {
  AddTagsToResourceCommand,
  CreateDBInstanceCommand,
  CreateDBSnapshotCommand,
  DescribeDBInstancesCommand,
  DescribeDBSnapshotsCommand,
} from "@aws-sdk/client-rds";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { rdsBackups } from "../../lib/aws/backups.ts";
import { type AwsClients, awsClients } from "../../lib/aws/clients.ts";
import { type PlatformResources, restoredTag, snapshotTag } from "../../lib/aws/resources.ts";
import type { Backups } from "../../lib/ports/backups.ts";
import { throttled, unavailable, useWire } from "../helpers/aws-wire.ts";
import { motoCredentials, noMoto, useMoto } from "../helpers/moto.ts";
import { makePlatform } from "../helpers/moto-rds.ts";
import { platform } from "./platform.ts";

describe.skipIf(noMoto !== undefined)(`backups on RDS${noMoto === undefined ? "" : ` (${noMoto})`}`, () => {
  const moto = useMoto();
  const wire = useWire(() => moto.endpoint);
  let resources: PlatformResources = platform();
  const clients = (): AwsClients =>
    awsClients({ region: "eu-west-1", endpoint: wire.endpoint, credentials: motoCredentials });
  const backups = (more: Partial<PlatformResources> = {}): Backups =>
    rdsBackups(clients(), { ...resources, ...more }, { discardPollMilliseconds: 10 });

  beforeAll(async () => {
    resources = await makePlatform(moto.endpoint, clients().rds(), platform());
    await makeInstance("other");
  }, 60_000);
  afterEach(() => wire.reset());

  async function makeInstance(id: string): Promise<void> {
    await clients()
      .rds()
      .send(
        new CreateDBInstanceCommand({
          DBInstanceIdentifier: id,
          DBInstanceClass: "db.m7g.large",
          Engine: "postgres",
          AllocatedStorage: 20,
          MasterUsername: "postgres",
          MasterUserPassword: "not-a-secret",
        }),
      );
  }

  const snapshot = async (id: string, tags: Record<string, string> = {}, source = "pgkeep-shop-primary") => {
    await clients()
      .rds()
      .send(
        new CreateDBSnapshotCommand({
          DBSnapshotIdentifier: id,
          DBInstanceIdentifier: source,
          Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })),
        }),
      );
  };
  const listed = async (id: string) => (await backups().list()).find((backup) => backup.id === id);
  const as = (status: string) => (_: unknown, body: string) =>
    body.replaceAll("<Status>available</Status>", `<Status>${status}</Status>`);

  describe("taking", () => {
    it("takes a snapshot that is tagged, encrypted and listed with version and size", async () => {
      const made = await backups().create("pgkeep-shop-20260101");
      expect(made).toMatchObject({ id: "pgkeep-shop-20260101", managed: true });
      expect(await listed("pgkeep-shop-20260101")).toMatchObject({
        status: "available",
        managed: true,
        database: "shop",
        sizeBytes: 100 * 1024 ** 3,
        serverVersionNumber: 170_004,
        startedAt: expect.any(Date),
      });
    });

    it("finds a snapshot that exists instead of taking it again", async () => {
      await backups().create("pgkeep-shop-20260102");
      wire.reset();
      await backups().create("pgkeep-shop-20260102");
      expect(wire.requests.map(({ action }) => action)).toEqual(["DescribeDBSnapshots"]);
    });

    it("is the same backup when two triggers come at once", async () => {
      const both = await Promise.all([
        backups().create("pgkeep-shop-twice"),
        backups().create("pgkeep-shop-twice"),
      ]);
      expect(both.map(({ id, managed }) => [id, managed])).toEqual([
        ["pgkeep-shop-twice", true],
        ["pgkeep-shop-twice", true],
      ]);
    });

    it("says creating while RDS creates", async () => {
      wire.rewrite = as("creating");
      expect((await backups().create("pgkeep-shop-slow")).status).toBe("creating");
      expect((await backups().create("pgkeep-shop-slow")).status).toBe("creating");
    });

    it("deletes a failed one and takes it again under its name", async () => {
      await backups().create("pgkeep-shop-failed");
      wire.rewrite = as("failed");
      expect((await backups().create("pgkeep-shop-failed")).status).toBe("creating");
      wire.reset();
      await backups().create("pgkeep-shop-failed");
      expect(wire.requests.map(({ action }) => action)).toContain("CreateDBSnapshot");
    });

    it("refuses a name that is taken by a foreign snapshot, and one that is not of this database", async () => {
      await snapshot("pgkeep-shop-foreign");
      await expect(backups().create("pgkeep-shop-foreign")).rejects.toMatchObject({ code: "refused" });
      await expect(backups().create("pgkeep-other-20260101")).rejects.toMatchObject({ code: "usage" });
    });

    it("copies it to other regions, and begins a missing copy again", async () => {
      const abroad = { copyToRegions: ["eu-central-1"] };
      await backups(abroad).create("pgkeep-shop-copied");
      await backups(abroad).create("pgkeep-shop-copied");
      const { DBSnapshots = [] } = await clients()
        .rds("eu-central-1")
        .send(new DescribeDBSnapshotsCommand({ DBSnapshotIdentifier: "pgkeep-shop-copied" }));
      expect(DBSnapshots[0]?.TagList).toContainEqual({ Key: snapshotTag, Value: "shop" });
      const copying = wire.requests.filter(({ action }) => action === "CopyDBSnapshot");
      expect(copying).toHaveLength(1);
      const sent = new URLSearchParams(copying[0]?.body);
      expect(sent.get("KmsKeyId")).toBe("alias/aws/rds");
      expect(sent.get("PreSignedUrl")).toContain("rds.eu-west-1.amazonaws.com");
    });
  });

  describe("listing", () => {
    it("reads every page", async () => {
      await Promise.all(
        Array.from({ length: 8 }, (_, lane) => lane).map(async (lane) => {
          for (let n = lane; n < 120; n += 8) {
            await snapshot(`pgkeep-shop-many-${n}`, { [snapshotTag]: "shop" });
          }
        }),
      );
      // The emulator gives all at once; RDS gives at most 100 and a marker.
      wire.rewrite = inPagesOf(50);
      const found = (await backups().list()).filter(({ id }) => id.startsWith("pgkeep-shop-many-"));
      expect(found).toHaveLength(120);
      expect(wire.requests.length).toBeGreaterThan(2);
    });

    it("shows foreign snapshots as unmanaged and leaves automated ones to AWS", async () => {
      await snapshot("made-by-hand");
      await snapshot("pgkeep-shop-of-another-key", { [snapshotTag]: "other" });
      await snapshot("pgkeep-shop-of-other-instance", { [snapshotTag]: "shop" }, "other");
      expect(await listed("made-by-hand")).toMatchObject({ managed: false });
      expect(await listed("pgkeep-shop-of-another-key")).toMatchObject({ managed: false });
      expect(await listed("pgkeep-shop-of-other-instance")).toBeUndefined();
      wire.rewrite = (_, body) =>
        body.replaceAll("<SnapshotType>manual</SnapshotType>", "<SnapshotType>automated</SnapshotType>");
      expect(await backups().list()).toEqual([]);
    });
  });

  describe("removing", () => {
    it("removes a snapshot and its copies", async () => {
      const abroad = { copyToRegions: ["eu-central-1"] };
      await backups(abroad).create("pgkeep-shop-gone");
      await backups(abroad).create("pgkeep-shop-gone");
      await backups(abroad).remove("pgkeep-shop-gone");
      expect(await listed("pgkeep-shop-gone")).toBeUndefined();
      await expect(
        clients()
          .rds("eu-central-1")
          .send(new DescribeDBSnapshotsCommand({ DBSnapshotIdentifier: "pgkeep-shop-gone" })),
      ).rejects.toThrow(/not found/i);
    });

    it("refuses a pinned one, and says why somebody wants it, whatever characters that has", async () => {
      const reason = 'the auditors asked: "keep § 7", ticket #12 = done, 漢字 (100 %)';
      await backups().create("pgkeep-shop-pinned");
      await backups().pin("pgkeep-shop-pinned", reason);
      expect(await listed("pgkeep-shop-pinned")).toMatchObject({ pinned: { reason } });
      await expect(backups().remove("pgkeep-shop-pinned")).rejects.toMatchObject({
        code: "refused",
        message: expect.stringContaining(reason),
      });
      await backups().unpin("pgkeep-shop-pinned");
      await backups().remove("pgkeep-shop-pinned");
      expect(await listed("pgkeep-shop-pinned")).toBeUndefined();
    });

    it("refuses when only the copy is pinned, and deletes nothing", async () => {
      const abroad = { copyToRegions: ["eu-central-1"] };
      await backups(abroad).create("pgkeep-shop-half");
      await backups(abroad).create("pgkeep-shop-half");
      await clients()
        .rds("eu-central-1")
        .send(
          new AddTagsToResourceCommand({
            ResourceName: "arn:aws:rds:eu-central-1:123456789012:snapshot:pgkeep-shop-half",
            Tags: [{ Key: "pgkeep:pinned", Value: "there" }],
          }),
        );
      await expect(backups(abroad).remove("pgkeep-shop-half")).rejects.toMatchObject({
        code: "refused",
        message: expect.stringContaining("eu-central-1"),
      });
      expect(await listed("pgkeep-shop-half")).toMatchObject({ status: "available" });
    });

    it("refuses what it did not make and what is being made", async () => {
      await snapshot("by-hand-too");
      await expect(backups().remove("by-hand-too")).rejects.toMatchObject({ code: "refused" });
      await expect(backups().pin("by-hand-too", "x")).rejects.toMatchObject({ code: "refused" });
      await backups().create("pgkeep-shop-unfinished");
      wire.rewrite = as("creating");
      await expect(backups().remove("pgkeep-shop-unfinished")).rejects.toMatchObject({ code: "refused" });
      wire.reset();
      expect(await listed("pgkeep-shop-unfinished")).toMatchObject({ status: "available" });
    });

    it("names a backup that does not exist", async () => {
      for (const attempt of [
        () => backups().remove("absent"),
        () => backups().pin("absent", "x"),
        () => backups().verify("absent"),
        () => backups().markVerified("absent", new Date()),
        () => backups().restore({ name: "x", target: { kind: "backup", backupId: "absent" } }),
      ]) {
        await expect(attempt()).rejects.toMatchObject({
          code: "not-found",
          message: expect.stringContaining("absent"),
        });
      }
    });
  });

  describe("verifying", () => {
    it("says what is wrong without restoring, and leaves proving to the drill", async () => {
      await backups().create("pgkeep-shop-sound");
      expect(await backups().verify("pgkeep-shop-sound")).toMatchObject({ ok: true, problems: [] });
      expect((await listed("pgkeep-shop-sound"))?.verifiedAt).toBeUndefined();
      expect((await backups({ copyToRegions: ["us-east-1"] }).verify("pgkeep-shop-sound")).problems).toEqual([
        { subject: "pgkeep-shop-sound in us-east-1", problem: "there is no copy" },
      ]);
      wire.rewrite = (_, body) =>
        body.replaceAll("<Encrypted>true</Encrypted>", "<Encrypted>false</Encrypted>");
      expect((await backups().verify("pgkeep-shop-sound")).problems).toEqual([
        { subject: "pgkeep-shop-sound", problem: "it is not encrypted" },
      ]);
    });

    it("says when the newest is older than two periods of its schedule, and of no other", async () => {
      await backups().create("pgkeep-shop-zz-old");
      const at = (hours: number) =>
        rdsBackups(clients(), resources, {
          now: () => new Date(Date.now() + hours * 3_600_000),
          scheduledEverySeconds: 86_400,
        });
      const newest = (await backups().list()).find(({ managed }) => managed)?.id ?? "";
      const older = (await backups().list()).filter(({ managed }) => managed).at(-1)?.id ?? "";
      expect(older).not.toBe(newest);
      expect(await at(47).verify(newest)).toMatchObject({ ok: true });
      expect((await at(49).verify(newest)).problems).toEqual([
        { subject: newest, problem: expect.stringMatching(/^it is the newest and .* old; the schedule/) },
      ]);
      expect(await at(49).verify(older)).toMatchObject({ ok: true });
    });

    it("remembers when a drill proved it", async () => {
      await backups().create("pgkeep-shop-proved");
      const at = new Date("2026-01-02T03:04:05.678Z");
      await backups().markVerified("pgkeep-shop-proved", at);
      expect((await listed("pgkeep-shop-proved"))?.verifiedAt).toEqual(at);
    });
  });

  describe("restoring", () => {
    const instance = async (id: string) =>
      (
        await clients()
          .rds()
          .send(new DescribeDBInstancesCommand({ DBInstanceIdentifier: id }))
      ).DBInstances?.[0];
    const window = { earliest: "2026-01-01T00:00:00Z", latest: "2026-01-08T00:00:00Z" };
    const withWindow = () => {
      wire.answer = ({ action }) =>
        action === "DescribeDBInstanceAutomatedBackups"
          ? {
              status: 200,
              headers: { "content-type": "text/xml" },
              body: `<DescribeDBInstanceAutomatedBackupsResponse><DescribeDBInstanceAutomatedBackupsResult><DBInstanceAutomatedBackups><DBInstanceAutomatedBackup><DBInstanceIdentifier>pgkeep-shop-primary</DBInstanceIdentifier><Status>active</Status><RestoreWindow><EarliestTime>${window.earliest}</EarliestTime><LatestTime>${window.latest}</LatestTime></RestoreWindow></DBInstanceAutomatedBackup></DBInstanceAutomatedBackups></DescribeDBInstanceAutomatedBackupsResult></DescribeDBInstanceAutomatedBackupsResponse>`,
            }
          : undefined;
    };

    it("makes a private instance from a backup, polled by name, and discards it", async () => {
      await backups().create("pgkeep-shop-source");
      const request = {
        name: "drill-1",
        target: { kind: "backup", backupId: "pgkeep-shop-source" },
      } as const;
      const begun = await backups().restore(request);
      expect(begun).toMatchObject({ status: "restoring" });
      // RDS takes many minutes.
      expect(begun.status === "restoring" && begun.pollAfterSeconds).toBeGreaterThanOrEqual(30);
      const restored = await backups().restore(request);
      expect(restored).toMatchObject({
        status: "available",
        backupId: "pgkeep-shop-source",
        endpoint: { host: expect.stringContaining("pgkeep-shop-drill-1"), port: 5432 },
      });
      const sent = new URLSearchParams(
        wire.requests.find(({ action }) => action === "RestoreDBInstanceFromDBSnapshot")?.body,
      );
      expect(Object.fromEntries(sent)).toMatchObject({
        DBInstanceIdentifier: "pgkeep-shop-drill-1",
        DBInstanceClass: "db.m7g.large",
        DBSubnetGroupName: "pgkeep-shop",
        DBParameterGroupName: "pgkeep-shop",
        PubliclyAccessible: "false",
        DeletionProtection: "false",
        EnableIAMDatabaseAuthentication: "true",
        MultiAZ: "false",
      });
      expect((await instance("pgkeep-shop-drill-1"))?.TagList).toContainEqual({
        Key: restoredTag.key,
        Value: "drill",
      });
      expect(await backups().restored?.()).toEqual(["drill-1"]);
      await backups().discard("drill-1");
      expect(await backups().restored?.()).toEqual([]);
      const deleted = new URLSearchParams(
        wire.requests.find(({ action }) => action === "DeleteDBInstance")?.body,
      );
      expect(Object.fromEntries(deleted)).toMatchObject({
        SkipFinalSnapshot: "true",
        DeleteAutomatedBackups: "true",
      });
      await backups().discard("drill-1");
    });

    it("restores to a moment, and names the newest backup from before it", async () => {
      withWindow();
      const time = new Date("2026-01-05T12:00:00Z");
      const request = { name: "drill-2", target: { kind: "time", time } } as const;
      await backups().restore(request);
      const sent = new URLSearchParams(
        wire.requests.find(({ action }) => action === "RestoreDBInstanceToPointInTime")?.body,
      );
      expect(Object.fromEntries(sent)).toMatchObject({
        SourceDBInstanceIdentifier: "pgkeep-shop-primary",
        TargetDBInstanceIdentifier: "pgkeep-shop-drill-2",
        RestoreTime: expect.stringContaining("2026-01-05T12:00:00"),
      });
      // Every snapshot of this test is younger than the moment.
      expect(await backups().restore(request)).toMatchObject({ backupId: "automated" });
      await backups().markVerified("automated", new Date());
      await expect(backups().restore({ ...request, target: { kind: "latest" } })).rejects.toMatchObject({
        code: "refused",
        message: expect.stringContaining("2026-01-05T12:00:00.000Z"),
      });
      await backups().discard("drill-2");
    });

    it("names the manifest's backup when it restores the latest moment", async () => {
      withWindow();
      await backups().create("pgkeep-shop-zz-newest");
      const request = { name: "person-1", target: { kind: "latest" } } as const;
      await backups().restore(request);
      const newest = (await backups().list()).find(({ managed }) => managed);
      expect(await backups().restore(request)).toMatchObject({ backupId: newest?.id });
      expect((await instance("pgkeep-shop-person-1"))?.TagList).toContainEqual({
        Key: restoredTag.key,
        Value: "person",
      });
      await backups().discard("person-1");
    });

    it("refuses a moment outside of the recovery window and says the window", async () => {
      withWindow();
      for (const time of [new Date("2001-01-01T00:00:00Z"), new Date("2026-01-08T00:00:01Z")]) {
        await expect(
          backups().restore({ name: "outside", target: { kind: "time", time } }),
        ).rejects.toMatchObject({
          code: "restore-failed",
          message: expect.stringContaining("2026-01-01T00:00:00.000Z"),
        });
      }
      wire.reset();
      expect(await backups().recoveryWindow()).toBeUndefined();
    });

    it("fails when RDS says that the restore failed", async () => {
      await backups().create("pgkeep-shop-broken");
      const request = {
        name: "drill-3",
        target: { kind: "backup", backupId: "pgkeep-shop-broken" },
      } as const;
      await backups().restore(request);
      wire.rewrite = (_, body) =>
        body.replace("<DBInstanceStatus>available<", "<DBInstanceStatus>incompatible-restore<");
      await expect(backups().restore(request)).rejects.toMatchObject({ code: "restore-failed" });
      wire.reset();
      await backups().discard("drill-3");
    });

    it("neither continues nor discards an instance that it did not make", async () => {
      await makeInstance("pgkeep-shop-innocent");
      wire.reset();
      for (const name of ["innocent", "primary"]) {
        await expect(backups().discard(name)).rejects.toMatchObject({ code: "refused" });
        await expect(backups().restore({ name, target: { kind: "latest" } })).rejects.toMatchObject({
          code: "refused",
        });
      }
      expect(wire.requests.map(({ action }) => action)).not.toContain("DeleteDBInstance");
      expect(await instance("pgkeep-shop-innocent")).toBeDefined();
      expect(await backups().restored?.()).toEqual([]);
    });

    it("waits for an instance that cannot be deleted yet", async () => {
      await backups().create("pgkeep-shop-busy");
      await backups().restore({ name: "drill-4", target: { kind: "backup", backupId: "pgkeep-shop-busy" } });
      let refusals = 2;
      wire.answer = ({ action }) =>
        action === "DeleteDBInstance" && refusals-- > 0
          ? {
              status: 400,
              headers: { "content-type": "text/xml" },
              body: "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidDBInstanceState</Code><Message>Instance is creating</Message></Error></ErrorResponse>",
            }
          : undefined;
      await backups().discard("drill-4");
      expect(wire.requests.filter(({ action }) => action === "DeleteDBInstance")).toHaveLength(3);
      expect(await backups().restored?.()).toEqual([]);
    });
  });

  describe("when AWS is in trouble", () => {
    it("goes on after throttling and outages", async () => {
      let troubles = [throttled, unavailable, throttled];
      wire.answer = () => troubles.shift();
      expect(await backups().create("pgkeep-shop-throttled")).toMatchObject({ managed: true });
      troubles = [unavailable];
      expect((await backups().list()).length).toBeGreaterThan(0);
    });

    it("says what it could not do, and what to do, when it lasts", async () => {
      wire.answer = () => throttled;
      const impatient = awsClients({
        region: "eu-west-1",
        endpoint: wire.endpoint,
        credentials: motoCredentials,
        maxAttempts: 2,
      });
      await expect(rdsBackups(impatient, resources).list()).rejects.toMatchObject({
        code: "timeout",
        message: expect.stringContaining("list the snapshots of pgkeep-shop-primary"),
        remedy: expect.stringContaining("later"),
      });
      expect(wire.requests).toHaveLength(2);
    });

    it("tells a missing permission from everything else", async () => {
      wire.answer = () => ({
        status: 403,
        headers: { "content-type": "text/xml" },
        body: "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to perform: rds:DeleteDBSnapshot</Message></Error></ErrorResponse>",
      });
      await expect(backups().list()).rejects.toMatchObject({ code: "insufficient-privilege" });
    });
  });
});

/** Cuts the emulator's list of snapshots as RDS would. */
function inPagesOf(size: number) {
  return ({ action, body: request }: { action: string; body: string }, body: string): string => {
    if (action !== "DescribeDBSnapshots") return body;
    const all = body.match(/<DBSnapshot>.*?<\/DBSnapshot>/gs) ?? [];
    const from = Number(new URLSearchParams(request).get("Marker") ?? 0);
    const page = all.slice(from, from + size);
    const marker = from + size < all.length ? `<Marker>${from + size}</Marker>` : "";
    return `<DescribeDBSnapshotsResponse><DescribeDBSnapshotsResult><DBSnapshots>${page.join("")}</DBSnapshots>${marker}</DescribeDBSnapshotsResult></DescribeDBSnapshotsResponse>`;
  };
}
