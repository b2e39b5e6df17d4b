import { describe, expect, it } from "vitest";
import { defaultConfig } from "../../lib/config/load.ts";
import { IsolatedNetwork } from "../../lib/constructs/network.ts";
import { UsageError } from "../../lib/errors.ts";
import { NetworkStack } from "../../lib/stacks/network.ts";
import { foundationTemplates, onlyResource, resourcesOf, testApp, thrownBy } from "../helpers/stacks.ts";

const ways = [
  "AWS::EC2::InternetGateway",
  "AWS::EC2::VPCGatewayAttachment",
  "AWS::EC2::EgressOnlyInternetGateway",
  "AWS::EC2::NatGateway",
  "AWS::EC2::Route",
  "AWS::EC2::EIP",
];

const existing = `network:
  existingVpcId: vpc-0123456789abcdef0
  existingSubnetIds: [subnet-00000001, subnet-00000002]`;

describe("the network that is made", () => {
  const { network } = foundationTemplates();

  it.each(ways)("has no %s", (type) => {
    network.resourceCountIs(type, 0);
  });

  it("has a subnet in each of three zones, none with public addresses", () => {
    const subnets = resourcesOf(network, "AWS::EC2::Subnet");
    expect(subnets.map(({ Properties }) => Properties.AvailabilityZone)).toEqual(
      [0, 1, 2].map((index) => ({ "Fn::Select": [index, { "Fn::GetAZs": "" }] })),
    );
    expect(subnets.map(({ Properties }) => Properties.MapPublicIpOnLaunch)).toEqual([false, false, false]);
  });

  it("has as many zones as are asked for", () => {
    const two = foundationTemplates("network: {availabilityZones: 2, cidr: 10.30.0.0/20}").network;
    expect(resourcesOf(two, "AWS::EC2::Subnet")).toHaveLength(2);
    expect(onlyResource(two, "AWS::EC2::VPC").Properties.CidrBlock).toBe("10.30.0.0/20");
  });

  it("has an interface endpoint for Secrets Manager only, and the gateway of S3", () => {
    const endpoints = resourcesOf(network, "AWS::EC2::VPCEndpoint").map(({ Properties }) => ({
      type: Properties.VpcEndpointType,
      service: JSON.stringify(Properties.ServiceName).match(/\.(\w+)"/)?.[1],
      hasPolicy: Properties.PolicyDocument !== undefined,
    }));
    expect(endpoints).toEqual([
      { type: "Gateway", service: "s3", hasPolicy: true },
      { type: "Interface", service: "secretsmanager", hasPolicy: true },
    ]);
  });

  it("admits nobody to the endpoint by address", () => {
    expect(onlyResource(network, "AWS::EC2::SecurityGroup").Properties.SecurityGroupIngress).toBeUndefined();
  });

  it("keeps encrypted logs of refused connections for a while", () => {
    expect(onlyResource(network, "AWS::EC2::FlowLog").Properties.TrafficType).toBe("REJECT");
    const { RetentionInDays, KmsKeyId } = onlyResource(network, "AWS::Logs::LogGroup").Properties;
    expect(RetentionInDays).toBe(90);
    expect(KmsKeyId).toBeDefined();
  });

  it("looks nothing up, even where account and region are given", () => {
    const app = testApp();
    const stack = new NetworkStack(app, "Network", {
      config: defaultConfig(),
      env: { account: "123456789012", region: "eu-west-1" },
    });
    expect(stack.availabilityZones).toHaveLength(3);
    expect(app.synth().manifest.missing ?? []).toEqual([]);
  });
});

describe("an existing VPC", () => {
  it("is used with the subnets that are named, and nothing is made but the endpoint", () => {
    const { network, database } = foundationTemplates(existing);
    network.resourceCountIs("AWS::EC2::VPC", 0);
    network.resourceCountIs("AWS::EC2::Subnet", 0);
    expect(onlyResource(network, "AWS::EC2::VPCEndpoint").Properties.SubnetIds).toEqual([
      "subnet-00000001",
      "subnet-00000002",
    ]);
    expect(onlyResource(database, "AWS::RDS::DBSubnetGroup").Properties.SubnetIds).toEqual([
      "subnet-00000001",
      "subnet-00000002",
    ]);
  });

  it("may have the endpoint already", () => {
    const { network, access } = foundationTemplates(
      `${existing}\n  existingEndpointSecurityGroupId: sg-00000001`,
    );
    network.resourceCountIs("AWS::EC2::VPCEndpoint", 0);
    access.hasResourceProperties("AWS::EC2::SecurityGroupIngress", { GroupId: "sg-00000001", FromPort: 443 });
  });

  it("needs two subnets, also where no configuration file was checked", () => {
    const stack = new NetworkStack(testApp(), "Other", { config: defaultConfig() });
    const error = thrownBy(
      () =>
        new IsolatedNetwork(stack, "Mine", {
          config: {
            ...defaultConfig().network,
            existingVpcId: "vpc-00000001",
            existingSubnetIds: ["subnet-00000001"],
          },
        }),
    );
    expect(error).toBeInstanceOf(UsageError);
    expect(String(error)).toContain("network.existingSubnetIds: vpc-00000001 is to be used, and 1 of its");
  });
});
