import { describe, expect, it } from "vitest";
import { PoolingProxy } from "../../lib/constructs/proxy.ts";
import { UsageError } from "../../lib/errors.ts";
import {
  foundationStacks,
  foundationTemplates,
  onlyResource,
  resourcesOf,
  thrownBy,
} from "../helpers/stacks.ts";

const aurora = "database: {name: shop, topology: aurora}";
const cluster = "database: {name: shop, topology: multi-az-cluster}";
const instance = "database: {name: shop}";

const targetsOf = (text: string) =>
  onlyResource(foundationTemplates(text).access, "AWS::RDS::DBProxyTargetGroup").Properties;
const limitsOf = (text: string) => targetsOf(text).ConnectionPoolConfigurationInfo as Record<string, number>;

describe("the proxy", () => {
  it.each([instance, cluster, aurora])("requires TLS and IAM: %s", (text) => {
    const { Properties } = onlyResource(foundationTemplates(text).access, "AWS::RDS::DBProxy");
    expect(Properties).toMatchObject({
      DBProxyName: "pgkeep-shop",
      EngineFamily: "POSTGRESQL",
      RequireTLS: true,
      DebugLogging: false,
    });
    const auth = Properties.Auth as Record<string, unknown>[];
    expect(auth.map(({ IAMAuth, AuthScheme }) => [AuthScheme, IAMAuth])).toEqual([
      ["SECRETS", "REQUIRED"],
      ["SECRETS", "REQUIRED"],
    ]);
  });

  it("serves the application and reporting, and not migrations", () => {
    const { Properties } = onlyResource(foundationTemplates(instance).access, "AWS::RDS::DBProxy");
    const secrets = JSON.stringify(Properties.Auth);
    expect(secrets).toContain("Loginapp");
    expect(secrets).toContain("Loginreporting");
    expect(secrets).not.toContain("Loginmigrations");
  });

  it.each([instance, cluster, aurora])("has one target group, named default: %s", (text) => {
    const { TargetGroupName, DBInstanceIdentifiers, DBClusterIdentifiers } = targetsOf(text);
    expect(TargetGroupName).toBe("default");
    const [targets, none] =
      text === instance
        ? [DBInstanceIdentifiers, DBClusterIdentifiers]
        : [DBClusterIdentifiers, DBInstanceIdentifiers];
    expect(targets).toHaveLength(1);
    expect(none).toBeUndefined();
  });

  it("counts connections in percent of those of the class, and leaves some free", () => {
    // m7g.large has 901; two pools of 20 and 5 in reserve are 45, a pool 20.
    expect(limitsOf(instance)).toEqual({
      ConnectionBorrowTimeout: 30,
      MaxConnectionsPercent: 5,
      MaxIdleConnectionsPercent: 3,
    });
    const full = limitsOf(
      "{database: {maxConnections: 100}, pooling: {poolSize: 80, borrowTimeoutSeconds: 7}}",
    );
    expect(full).toEqual({
      ConnectionBorrowTimeout: 7,
      MaxConnectionsPercent: 90,
      MaxIdleConnectionsPercent: 80,
    });
  });

  it("has a reader endpoint before Aurora only, and there only with readers", () => {
    expect(
      onlyResource(foundationTemplates(aurora).access, "AWS::RDS::DBProxyEndpoint").Properties,
    ).toMatchObject({ DBProxyEndpointName: "pgkeep-shop-reader", TargetRole: "READ_ONLY" });
    for (const text of [instance, cluster, `${aurora}\nreplicas: {count: 0}`]) {
      foundationTemplates(text).access.resourceCountIs("AWS::RDS::DBProxyEndpoint", 0);
    }
  });

  it("reads the two secrets and nothing else", () => {
    const { access, stacks } = foundationTemplates(instance);
    const role = resourcesOf(access, "AWS::IAM::Role").find(({ Properties }) =>
      JSON.stringify(Properties.AssumeRolePolicyDocument).includes("rds.amazonaws.com"),
    );
    expect(JSON.stringify(role?.Properties.Policies)).not.toContain('"Resource":"*"');
    const statements = stacks.access.proxy?.statements ?? [];
    expect(statements.map(({ actions }) => actions)).toEqual([
      ["secretsmanager:GetSecretValue"],
      ["kms:Decrypt"],
    ]);
    expect(statements[0]?.resources).toHaveLength(2);
    expect(JSON.stringify(stacks.access.resolve(statements[1]?.conditions))).toContain("secretsmanager.");
  });

  it("admits applications, and reaches the database only", () => {
    const rules = resourcesOf(foundationTemplates(instance).access, "AWS::EC2::SecurityGroupIngress");
    const intoProxy = rules.filter(({ Properties }) =>
      JSON.stringify(Properties.GroupId).includes("ProxyGroup"),
    );
    expect(intoProxy).toHaveLength(1);
    expect(JSON.stringify(intoProxy[0]?.Properties.SourceSecurityGroupId)).toContain("ApplicationGroup");
  });

  it("is not there when pooling is switched off", () => {
    const { access, stacks } = foundationTemplates("pooling: {enabled: false}");
    access.resourceCountIs("AWS::RDS::DBProxy", 0);
    expect(stacks.database.platform.metricDimensions.proxy).toBeUndefined();
  });

  it("is measured under the name that it has", () => {
    const { stacks, access } = foundationTemplates(instance);
    expect(stacks.database.platform.metricDimensions.proxy?.ProxyName).toBe(
      onlyResource(access, "AWS::RDS::DBProxy").Properties.DBProxyName,
    );
  });
});

describe("with IAM end to end", () => {
  const text = "{database: {name: shop}, roles: {logins: iam}}";

  it("needs no secret, and may log in as the two roles only", () => {
    const { access, stacks } = foundationTemplates(text);
    access.resourceCountIs("AWS::SecretsManager::Secret", 0);
    const { Properties } = onlyResource(access, "AWS::RDS::DBProxy");
    expect(Properties.DefaultAuthScheme).toBe("IAM_AUTH");
    expect(Properties.Auth).toBeUndefined();
    const [statement, ...others] = stacks.access.proxy?.statements ?? [];
    expect(others).toEqual([]);
    expect(statement?.actions).toEqual(["rds-db:connect"]);
    // A writer and two replicas, two logins each; no resource is a wildcard.
    expect(statement?.resources.map((arn) => arn.split("/").at(-1))).toEqual([
      "shop_app",
      "shop_reporting",
      "shop_app",
      "shop_reporting",
      "shop_app",
      "shop_reporting",
    ]);
  });
});

describe("what RDS Proxy cannot serve", () => {
  it("is a reader endpoint before an instance, with the alternative", () => {
    const { access, database } = foundationStacks(instance);
    const error = thrownBy(
      () => new PoolingProxy(access, "Another", { platform: database.platform, readerEndpoint: true }),
    ) as UsageError;
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toBe(
      "shop: database.topology: a proxy before an RDS instance serves its writer only and can have no reader endpoint",
    );
    expect(error.remedy).toContain("PgBouncer");
  });

  it("is pooling by session", () => {
    const error = thrownBy(() => foundationStacks("pooling: {mode: session}")) as UsageError;
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toContain("pooling.mode: RDS Proxy gives a connection back after each transaction");
    expect(error.remedy).toContain("set pooling.mode to transaction");
  });
});
