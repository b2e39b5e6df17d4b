import { describe, expect, it } from "vitest";
import { foundationTemplates, onlyResource, resourcesOf } from "../helpers/stacks.ts";

const text = "database: {name: shop}";
const { access, database, stacks } = foundationTemplates(text);

const functionNamed = (name: string) => {
  const found = resourcesOf(access, "AWS::Lambda::Function").find(
    ({ Properties }) => Properties.FunctionName === name,
  );
  if (found === undefined) throw new Error(`no function ${name}`);
  return found.Properties;
};

describe("logins", () => {
  it("have a generated secret each, encrypted with the database's key", () => {
    const secrets = resourcesOf(access, "AWS::SecretsManager::Secret").map(({ Properties }) => Properties);
    expect(secrets).toHaveLength(3);
    const logins = secrets.map(({ GenerateSecretString }) => JSON.stringify(GenerateSecretString));
    for (const role of ["shop_app", "shop_reporting", "shop_migrations"]) {
      expect(logins.filter((login) => login.includes(`\\"username\\":\\"${role}\\"`))).toHaveLength(1);
    }
    for (const { KmsKeyId } of secrets) expect(JSON.stringify(KmsKeyId)).toContain("DatabaseKey");
  });

  it("have none when everything logs in by IAM", () => {
    const { access: withIam } = foundationTemplates("roles: {logins: iam}");
    withIam.resourceCountIs("AWS::SecretsManager::Secret", 0);
    expect(resourcesOf(withIam, "AWS::SecretsManager::RotationSchedule")).toHaveLength(1);
  });

  it("are rotated, and the master user too, but not before the roles are there", () => {
    const schedules = resourcesOf(access, "AWS::SecretsManager::RotationSchedule");
    expect(schedules).toHaveLength(4);
    for (const { Properties, DependsOn } of schedules) {
      expect(Properties).toMatchObject({
        RotationRules: { AutomaticallyAfterDays: 30 },
        RotateImmediatelyOnUpdate: false,
      });
      expect(DependsOn).toContainEqual(expect.stringMatching(/^AccessRoles/));
    }
    const permissions = resourcesOf(access, "AWS::Lambda::Permission");
    for (const { Properties } of permissions) {
      expect(Properties.Principal).toBe("secretsmanager.amazonaws.com");
      expect(Properties.SourceArn).toBeDefined();
    }
  });
});

describe("roles", () => {
  const propertiesOf = (configuration: string) =>
    onlyResource(foundationTemplates(configuration).access, "Custom::PgkeepRoles").Properties;

  it("are set up again when their settings change, and only then", () => {
    const before = propertiesOf(text);
    const changed = propertiesOf(`${text}\nroles: {application: {statementTimeoutSeconds: 20}}`);
    expect(changed.Settings).not.toBe(before.Settings);
    expect({ ...changed, Settings: "" }).toEqual({ ...before, Settings: "" });
    expect(propertiesOf(`${text}\nalarms: {cpuPercent: 80}`)).toEqual(before);
  });

  it("are set up by a function in the isolated subnets", () => {
    expect(functionNamed("pgkeep-shop-bootstrap")).toMatchObject({
      Runtime: "nodejs24.x",
      Architectures: ["arm64"],
      Timeout: 300,
      VpcConfig: { SubnetIds: expect.any(Array), SecurityGroupIds: expect.any(Array) },
    });
  });

  it("wait for the rules that let the function reach database and secrets", () => {
    const depends = JSON.stringify(onlyResource(access, "Custom::PgkeepRoles").DependsOn);
    expect(depends).toContain("AccessGroup");
    expect(depends).toContain("AccessBootstrap");
  });

  it("tell the function where the secrets are, and never what is in them", () => {
    const { Variables } = functionNamed("pgkeep-shop-bootstrap").Environment as {
      Variables: Record<string, unknown>;
    };
    expect(Object.keys(Variables).toSorted()).toEqual([
      "PGKEEP_CONFIG",
      "PGKEEP_LOGIN_SECRETS",
      "PGKEEP_MASTER_SECRET",
      "PGKEEP_RESOURCES",
    ]);
    expect(JSON.stringify(Variables)).not.toContain("{{resolve:");
  });
});

describe("the functions", () => {
  it("may read the secrets of this database only, through Secrets Manager's use of the key", () => {
    const { statements } = stacks.access.access.bootstrap;
    const read = statements.find(({ sid }) => sid === "ReadSecrets");
    expect(read?.actions).toEqual(["secretsmanager:GetSecretValue"]);
    expect(read?.resources).toHaveLength(4);
    expect(statements.find(({ sid }) => sid === "DecryptSecrets")?.conditions).toBeDefined();
  });

  it("have a reason wherever they name everything", () => {
    const { bootstrap, rotation } = stacks.access.access;
    const all = [...bootstrap.statements, ...(rotation?.statements ?? [])];
    for (const { sid, resources, reason } of all) {
      if (resources.includes("*")) expect(reason, sid).toBeDefined();
    }
  });

  it("may write secrets only where they rotate them", () => {
    const { bootstrap, rotation } = stacks.access.access;
    const writes = (statements: readonly { actions: string[] }[] = []) =>
      statements
        .flatMap(({ actions }) => actions)
        .filter((action) => /^secretsmanager:(Put|Update)/.test(action));
    expect(writes(bootstrap.statements)).toEqual([]);
    expect(writes(rotation?.statements)).toEqual([
      "secretsmanager:PutSecretValue",
      "secretsmanager:UpdateSecretVersionStage",
    ]);
  });

  it("are the only ones admitted to the endpoint of Secrets Manager", () => {
    const admitted = [access, database]
      .flatMap((template) => resourcesOf(template, "AWS::EC2::SecurityGroupIngress"))
      .filter(({ Properties }) => Properties.FromPort === 443);
    expect(admitted).toHaveLength(1);
    expect(JSON.stringify(admitted[0]?.Properties.SourceSecurityGroupId)).toContain("AccessGroup");
  });

  it("keep their logs encrypted and for a limited time", () => {
    const groups = resourcesOf(access, "AWS::Logs::LogGroup");
    expect(groups).toHaveLength(3);
    for (const { Properties } of groups) {
      expect(Properties.RetentionInDays).toBe(90);
      expect(JSON.stringify(Properties.KmsKeyId)).toContain("DatabaseKey");
    }
  });
});

describe("the stacks", () => {
  it("refer from access to the database, never back", () => {
    expect(stacks.access.dependencies.map(({ stackName }) => stackName).toSorted()).toEqual([
      "Database",
      "Network",
    ]);
    expect(stacks.database.dependencies.map(({ stackName }) => stackName)).toEqual(["Network"]);
    expect(stacks.network.dependencies).toEqual([]);
  });

  it("leave the database's template as it is when only a role changes", () => {
    const changed = foundationTemplates(`${text}\nroles: {application: {statementTimeoutSeconds: 20}}`);
    expect(changed.database.toJSON()).toEqual(database.toJSON());
  });
});
