import { describe, expect, it } from "vitest";
import { Deployed } from "../helpers/deployed.ts";
import { statementsOf } from "../helpers/policies.ts";
import { configurationNames, useSynthesizer } from "../helpers/synth.ts";

const synthesizer = useSynthesizer();

/** What may name every resource, and why it cannot name one. */
const wildcardResources: { action: RegExp; reason: string }[] = [
  { action: /^xray:(Put|GetSampling)/, reason: "X-Ray's calls have no resource" },
  {
    action: /^ec2:Describe(NetworkInterfaces|Subnets)$/,
    reason: "EC2's lists have no resource; Lambda needs them in a VPC",
  },
  {
    action: /^logs:(\w+LogDelivery|ListLogDeliveries|(Put|Describe)ResourcePolic(y|ies)|DescribeLogGroups)$/,
    reason: "the delivery of a state machine's logs has no resource (Step Functions Developer Guide)",
  },
  { action: /^ecr:GetAuthorizationToken$/, reason: "the token is of the registry, which has no ARN" },
  { action: /^secretsmanager:/, reason: "the policy of an endpoint only narrows what roles already may" },
];

describe.each(configurationNames)("statements of policies: %s", (name) => {
  const all = () => {
    const synthesized = synthesizer.named(name);
    const deployed = new Deployed(synthesized);
    return statementsOf(synthesized.resources).map((statement) => ({
      ...statement,
      resources: statement.resources.flatMap((resource) => [
        deployed.value(statement.where.split("/")[0] ?? "", resource),
      ]) as string[],
    }));
  };
  /** A key's policy: its resource `*` is the key itself, and the account's root must be able to administer it. */
  const isKeyPolicy = (statement: { resourceType: string }) => statement.resourceType === "AWS::KMS::Key";

  it("are found", () => expect(all().length).toBeGreaterThan(5));

  it("name every action that they allow", () => {
    const wide = all()
      .filter((statement) => statement.effect === "Allow" && !isKeyPolicy(statement))
      .filter(
        ({ actions, notActions }) =>
          notActions !== undefined || actions.some((action) => action.includes("*")),
      );
    expect(wide.map(({ where, actions }) => `${where}: ${actions.join(", ")}`)).toEqual([]);
  });

  it("allow an action on everything only for a listed reason", () => {
    const wide = all()
      .filter((statement) => statement.effect === "Allow" && !isKeyPolicy(statement))
      .filter(
        ({ resources, notResources }) =>
          notResources !== undefined || resources.some((arn) => /^\*?$/.test(arn)),
      )
      .flatMap(({ where, actions }) => actions.map((action) => ({ where, action })))
      .filter(({ action }) => !wildcardResources.some((listed) => listed.action.test(action)));
    expect(wide.map(({ where, action }) => `${where}: ${action}`)).toEqual([]);
  });

  it("trust nobody outside this account but services of AWS", () => {
    const strangers = all()
      .filter(({ effect, principals }) => effect === "Allow" && principals !== undefined)
      .filter(({ principals, conditions }) => principals === "*" && Object.keys(conditions).length === 0);
    expect(strangers.map(({ where }) => where)).toEqual([]);
  });
});

describe.each(configurationNames)("what is stored and opened: %s", (name) => {
  const ofType = (type: string) =>
    synthesizer.named(name).resources.filter((resource) => resource.Type === type);

  it("encrypts every database with a key that rotates, and opens none to the internet", () => {
    const databases = [...ofType("AWS::RDS::DBInstance"), ...ofType("AWS::RDS::DBCluster")];
    expect(databases.length).toBeGreaterThan(0);
    for (const { logicalId, Properties = {} } of databases) {
      // A member of a cluster and a replica in the region have the storage of their cluster or source.
      const inherits = "DBClusterIdentifier" in Properties && !("MasterUsername" in Properties);
      const replica = "SourceDBInstanceIdentifier" in Properties || "SourceRegion" in Properties;
      // So has what comes from a snapshot or a moment: an instance its key too, a cluster is given one.
      const restored = [
        "DBSnapshotIdentifier",
        "SnapshotIdentifier",
        "SourceDbiResourceId",
        "SourceDbClusterResourceId",
      ].some((origin) => origin in Properties);
      if (!inherits && !replica && !restored) {
        expect(Properties, logicalId).toMatchObject({ StorageEncrypted: true });
        expect(Properties.KmsKeyId, logicalId).toBeDefined();
      }
      expect(Properties.PubliclyAccessible ?? false, logicalId).toBe(false);
    }
    for (const { Properties } of ofType("AWS::KMS::Key")) {
      expect(Properties).toMatchObject({ EnableKeyRotation: true });
    }
  });

  it("keeps a snapshot of whatever database is deleted or replaced", () => {
    const primaries = [...ofType("AWS::RDS::DBInstance"), ...ofType("AWS::RDS::DBCluster")].filter(
      ({ Properties = {} }) => "MasterUsername" in Properties || "MasterUserPassword" in Properties,
    );
    expect(primaries.length).toBeGreaterThan(0);
    for (const resource of primaries) {
      expect(resource, resource.logicalId).toMatchObject({
        DeletionPolicy: "Snapshot",
        UpdateReplacePolicy: "Snapshot",
      });
    }
  });

  it("forces TLS in every parameter group and at the proxy", () => {
    const groups = [...ofType("AWS::RDS::DBParameterGroup"), ...ofType("AWS::RDS::DBClusterParameterGroup")];
    expect(
      groups.filter(({ Properties }) => {
        const parameters = (Properties?.Parameters ?? {}) as Record<string, unknown>;
        return String(parameters["rds.force_ssl"]) === "1";
      }).length,
    ).toBeGreaterThan(0);
    for (const { Properties } of ofType("AWS::RDS::DBProxy")) {
      expect(Properties).toMatchObject({ RequireTLS: true });
    }
  });

  it("has no way from its subnets to the internet", () => {
    for (const type of [
      "AWS::EC2::NatGateway",
      "AWS::EC2::InternetGateway",
      "AWS::EC2::EgressOnlyInternetGateway",
    ]) {
      expect(ofType(type), type).toEqual([]);
    }
    for (const { Properties, logicalId } of ofType("AWS::EC2::Subnet")) {
      expect(Properties?.MapPublicIpOnLaunch ?? false, logicalId).toBe(false);
    }
  });

  it("admits to security groups only other security groups", () => {
    const rules = [
      ...ofType("AWS::EC2::SecurityGroupIngress").map(({ logicalId, Properties }) => ({
        logicalId,
        rule: Properties,
      })),
      ...ofType("AWS::EC2::SecurityGroup").flatMap(({ logicalId, Properties }) =>
        ((Properties?.SecurityGroupIngress ?? []) as Record<string, unknown>[]).map((rule) => ({
          logicalId,
          rule,
        })),
      ),
    ];
    expect(rules.length).toBeGreaterThan(0);
    for (const { logicalId, rule } of rules) {
      expect(rule, logicalId).toHaveProperty("SourceSecurityGroupId");
      expect(rule, logicalId).not.toHaveProperty("CidrIp");
    }
  });

  it("keeps every log for a time that is written down", () => {
    for (const { Properties, logicalId } of ofType("AWS::Logs::LogGroup")) {
      expect(Properties?.RetentionInDays, logicalId).toBeGreaterThan(0);
    }
  });
});
