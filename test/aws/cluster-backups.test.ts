import { DescribeDBClustersCommand } from "@aws-sdk/client-rds";
import { beforeAll, describe, expect, it } from "vitest";
import { rdsBackups } from "../../lib/aws/backups.ts";
import { awsClients } from "../../lib/aws/clients.ts";
import { type PlatformResources, restoredTag } from "../../lib/aws/resources.ts";
import { useWire } from "../helpers/aws-wire.ts";
import { motoCredentials, noMoto, useMoto } from "../helpers/moto.ts";
import { makePlatform } from "../helpers/moto-rds.ts";
import { platform } from "./platform.ts";

describe.skipIf(noMoto !== undefined).each(["multi-az-cluster", "aurora"] as const)(
  `backups of a cluster (%s)${noMoto === undefined ? "" : ` (${noMoto})`}`,
  (topology) => {
    const moto = useMoto();
    const wire = useWire(() => moto.endpoint);
    const clients = () =>
      awsClients({ region: "eu-west-1", endpoint: wire.endpoint, credentials: motoCredentials });
    let resources: PlatformResources = platform({ topology });
    const backups = () => rdsBackups(clients(), resources, { discardPollMilliseconds: 10 });

    beforeAll(async () => {
      resources = await makePlatform(moto.endpoint, clients().rds(), platform({ topology }));
    }, 60_000);

    const sentBy = (name: string) =>
      Object.fromEntries(
        new URLSearchParams(wire.requests.filter(({ action }) => action === name).at(-1)?.body),
      );

    it("are snapshots of the cluster: taken once, listed, pinned, deleted", async () => {
      const id = "pgkeep-shop-20260101";
      expect(await backups().create(id)).toMatchObject({ id, managed: true });
      await backups().create(id);
      expect(wire.requests.filter(({ action }) => action === "CreateDBClusterSnapshot")).toHaveLength(1);
      expect((await backups().list()).map((backup) => backup.id)).toEqual([id]);
      await backups().pin(id, "for the auditors");
      await expect(backups().remove(id)).rejects.toMatchObject({ code: "refused" });
      await backups().unpin(id);
      await backups().remove(id);
      expect(await backups().list()).toEqual([]);
    });

    it("are restored as a private cluster with the original's groups, polled by name, and discarded", async () => {
      const backupId = "pgkeep-shop-source";
      await backups().create(backupId);
      const request = { name: "drill-1", target: { kind: "backup", backupId } } as const;
      const asked = {
        DBClusterIdentifier: "pgkeep-shop-drill-1",
        SnapshotIdentifier: backupId,
        DBSubnetGroupName: "pgkeep-shop",
        DBClusterParameterGroupName: "pgkeep-shop",
        EnableIAMDatabaseAuthentication: "true",
        DeletionProtection: "false",
        Engine: topology === "aurora" ? "aurora-postgresql" : "postgres",
      };
      if (topology === "multi-az-cluster") {
        // The emulator knows no IAM authentication there; RDS's API reference allows it. What is asked can be seen.
        await expect(backups().restore(request)).rejects.toThrow(/IAM Authentication is currently not/);
        expect(sentBy("RestoreDBClusterFromSnapshot")).toMatchObject({
          ...asked,
          DBClusterInstanceClass: "db.m7g.large",
          PubliclyAccessible: "false",
        });
        return;
      }
      let state = await backups().restore(request);
      expect(state).toMatchObject({ status: "restoring" });
      for (let polls = 0; state.status === "restoring" && polls < 5; polls += 1) {
        state = await backups().restore(request);
      }
      expect(state).toMatchObject({ status: "available", backupId, endpoint: { port: 5432 } });
      expect(sentBy("RestoreDBClusterFromSnapshot")).toMatchObject(asked);
      // Aurora's storage answers nobody before it has an instance.
      const made = wire.requests.filter(({ action }) => action === "CreateDBInstance");
      expect(made).toHaveLength(1);
      const { DBClusters = [] } = await clients()
        .rds()
        .send(new DescribeDBClustersCommand({ DBClusterIdentifier: "pgkeep-shop-drill-1" }));
      expect(DBClusters[0]?.TagList).toContainEqual({ Key: restoredTag.key, Value: "drill" });
      expect(await backups().restored?.()).toEqual(["drill-1"]);
      await backups().discard("drill-1");
      expect(await backups().restored?.()).toEqual([]);
      expect(sentBy("DeleteDBCluster")).toMatchObject({ SkipFinalSnapshot: "true" });
    });

    it("leave a cluster alone that no restore made", async () => {
      await expect(backups().discard("primary")).rejects.toMatchObject({ code: "refused" });
      expect(
        (await clients().rds().send(new DescribeDBClustersCommand({}))).DBClusters?.map(
          ({ DBClusterIdentifier }) => DBClusterIdentifier,
        ),
      ).toEqual(["pgkeep-shop-primary"]);
    });
  },
);
