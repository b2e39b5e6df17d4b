import {
  CreateDBClusterCommand,
  CreateDBClusterParameterGroupCommand,
  CreateDBInstanceCommand,
  CreateDBParameterGroupCommand,
  CreateDBSubnetGroupCommand,
  type RDSClient,
} from "@aws-sdk/client-rds";
import type { PlatformResources } from "../../lib/aws/resources.ts";

/** Makes what a platform stands on in the emulator: network, groups and the primary. Gives the resources with its ids. */
export async function makePlatform(
  endpoint: string,
  rds: RDSClient,
  resources: PlatformResources,
): Promise<PlatformResources> {
  const network = await makeNetwork(endpoint);
  await rds.send(
    new CreateDBSubnetGroupCommand({
      DBSubnetGroupName: resources.restore.subnetGroupName,
      DBSubnetGroupDescription: "isolated",
      SubnetIds: network.subnetIds,
    }),
  );
  const login = { MasterUsername: "postgres", MasterUserPassword: "not-a-secret" };
  if (resources.topology === "instance") {
    await rds.send(
      new CreateDBParameterGroupCommand({
        DBParameterGroupName: resources.restore.parameterGroupName,
        DBParameterGroupFamily: "postgres17",
        Description: "for tests",
      }),
    );
    await rds.send(
      new CreateDBInstanceCommand({
        DBInstanceIdentifier: resources.primary.identifier,
        DBInstanceClass: "db.m7g.large",
        Engine: "postgres",
        EngineVersion: "17.4",
        AllocatedStorage: 100,
        StorageEncrypted: true,
        ...login,
      }),
    );
  } else {
    const aurora = resources.topology === "aurora";
    await rds.send(
      new CreateDBClusterParameterGroupCommand({
        DBClusterParameterGroupName: resources.restore.parameterGroupName,
        DBParameterGroupFamily: aurora ? "aurora-postgresql17" : "postgres17",
        Description: "for tests",
      }),
    );
    await rds.send(
      new CreateDBClusterCommand({
        DBClusterIdentifier: resources.primary.identifier,
        Engine: aurora ? "aurora-postgresql" : "postgres",
        EngineVersion: "17.4",
        StorageEncrypted: true,
        ...(aurora
          ? {}
          : {
              DBClusterInstanceClass: "db.m6gd.large",
              AllocatedStorage: 100,
              Iops: 3_000,
              StorageType: "io1",
            }),
        ...login,
      }),
    );
  }
  return { ...resources, restore: { ...resources.restore, securityGroupIds: [network.securityGroupId] } };
}

/** A network by the EC2 protocol: there is no EC2 client among the dependencies. */
async function makeNetwork(endpoint: string): Promise<{ subnetIds: string[]; securityGroupId: string }> {
  const call = async (parameters: Record<string, string>): Promise<string> => {
    const answer = await fetch(endpoint, {
      method: "POST",
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        authorization:
          "AWS4-HMAC-SHA256 Credential=testing/20260101/eu-west-1/ec2/aws4_request, SignedHeaders=host, Signature=0",
      },
      body: new URLSearchParams({ Version: "2016-11-15", ...parameters }).toString(),
    });
    return answer.text();
  };
  const first = (text: string, tag: string) => new RegExp(`<${tag}>([^<]+)<`).exec(text)?.[1] ?? "";
  const vpc = first(await call({ Action: "CreateVpc", CidrBlock: "10.20.0.0/16" }), "vpcId");
  const subnetIds: string[] = [];
  for (const [index, zone] of ["eu-west-1a", "eu-west-1b"].entries()) {
    const made = await call({
      Action: "CreateSubnet",
      VpcId: vpc,
      CidrBlock: `10.20.${index}.0/24`,
      AvailabilityZone: zone,
    });
    subnetIds.push(first(made, "subnetId"));
  }
  const group = await call({
    Action: "CreateSecurityGroup",
    GroupName: "pgkeep",
    GroupDescription: "database",
    VpcId: vpc,
  });
  return { subnetIds, securityGroupId: first(group, "groupId") };
}
