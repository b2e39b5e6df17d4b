import { createHash } from "node:crypto";
import { join } from "node:path";
import { CustomResource, FileSystem, RemovalPolicy, Stack } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as lambda from "aws-cdk-lib/aws-lambda";
import * as logs from "aws-cdk-lib/aws-logs";
import * as secretsmanager from "aws-cdk-lib/aws-secretsmanager";
import { Provider } from "aws-cdk-lib/custom-resources";
import { Construct } from "constructs";
import type { DatabaseConfig } from "../config/schema.ts";
import { roleNames } from "../install/role-names.ts";
import { packageRoot } from "../package-root.ts";
import { AccessFunction } from "./access-function.ts";
import { admit } from "./admit.ts";
import type { AccessiblePlatform } from "./platform.ts";
import { explainWildcards } from "./policy.ts";
import { decryptSecrets } from "./secret-grants.ts";

/** Roles that log in with a password, unless everything logs in by IAM. */
export const passwordLogins = ["app", "reporting", "migrations"] as const;
export type PasswordLogin = (typeof passwordLogins)[number];

const httpsPort = 443;
const rotationDays = 30;

export interface DatabaseAccessProps {
  platform: AccessiblePlatform;
  code: {
    /** Sets roles and schema up: the handler of a custom resource, behind the CDK's provider framework. */
    bootstrap: lambda.Code;
    /** Rotates one secret, as Secrets Manager calls it. Without it, nothing is rotated. */
    rotate?: lambda.Code;
  };
}

/**
 * Who may log in: a secret for each login that has a password, the roles and the schema `pgkeep` set up on each
 * deployment that changes them, and passwords rotated. Nothing is dropped when this is deleted.
 */
export class DatabaseAccess extends Construct {
  readonly secrets: Readonly<Partial<Record<PasswordLogin, secretsmanager.ISecret>>>;
  /** Of the functions here: the only one that is admitted to the endpoint of Secrets Manager. */
  readonly securityGroup: ec2.ISecurityGroup;
  readonly bootstrap: AccessFunction;
  readonly rotation: AccessFunction | undefined;
  /** Depend on it to run once the roles are there. */
  readonly roles: CustomResource;

  constructor(scope: Construct, id: string, { platform, code }: DatabaseAccessProps) {
    super(scope, id);
    this.secrets = platform.config.roles.logins === "iam" ? {} : makeSecrets(this, platform);
    this.securityGroup = this.#makeGroup(platform);
    this.bootstrap = this.#makeBootstrap(platform, code.bootstrap);
    this.roles = this.#bootstrapOnDeployment(platform);
    this.rotation = code.rotate === undefined ? undefined : this.#makeRotation(platform, code.rotate);
  }

  /** The secrets as a list, in the order of `passwordLogins`. */
  loginSecrets(...logins: readonly PasswordLogin[]): secretsmanager.ISecret[] {
    return passwordLogins
      .filter((login) => logins.length === 0 || logins.includes(login))
      .flatMap((login) => this.secrets[login] ?? []);
  }

  #makeGroup(platform: AccessiblePlatform): ec2.SecurityGroup {
    const group = new ec2.SecurityGroup(this, "Group", {
      vpc: platform.vpc,
      description: `Sets up the roles of ${platform.config.key}: reaches its database and Secrets Manager`,
      allowAllOutbound: false,
    });
    const who = `the roles of ${platform.config.key}`;
    admit({ to: platform.databaseSecurityGroup, from: group, who });
    admit({ to: platform.endpointSecurityGroup, from: group, who, port: httpsPort });
    return group;
  }

  #makeBootstrap(platform: AccessiblePlatform, code: lambda.Code): AccessFunction {
    return new AccessFunction(this, "Bootstrap", {
      platform,
      name: "bootstrap",
      description: "Sets up the roles and the schema of pgkeep",
      code,
      securityGroup: this.securityGroup,
      secrets: this.secrets,
      statements: [
        {
          sid: "ReadSecrets",
          actions: ["secretsmanager:GetSecretValue"],
          resources: [platform.masterSecret, ...this.loginSecrets()].map(({ secretArn }) => secretArn),
        },
        decryptSecrets(this, platform.encryptionKey),
      ],
    });
  }

  #bootstrapOnDeployment(platform: AccessiblePlatform): CustomResource {
    const provider = new Provider(this, "Provider", {
      onEventHandler: this.bootstrap.function,
      logGroup: new logs.LogGroup(this, "ProviderLogs", {
        encryptionKey: platform.encryptionKey,
        retention: logs.RetentionDays.THREE_MONTHS,
        removalPolicy: RemovalPolicy.DESTROY,
      }),
    });
    for (const policy of provider.node.findAll().filter((found) => found instanceof iam.CfnPolicy)) {
      explainWildcards(policy, [
        {
          sid: "InvokeBootstrap",
          actions: ["lambda:InvokeFunction"],
          resources: [`${this.bootstrap.function.functionArn}:*`],
          reason: "CDK's provider framework may call any version of the one function that sets roles up",
        },
      ]);
    }
    const roles = new CustomResource(this, "Roles", {
      serviceToken: provider.serviceToken,
      resourceType: "Custom::PgkeepRoles",
      properties: {
        Database: platform.resources.databaseName,
        // Another server under the same name starts without roles.
        Servers: platform.resources.resourceIds,
        Settings: settingsDigest(platform.config),
        Schema: FileSystem.fingerprint(join(packageRoot, "sql", "install")),
        Secrets: this.loginSecrets().map(({ secretArn }) => secretArn),
      },
    });
    // Without its rights and rules the first run would wait for its time to be up.
    roles.node.addDependency(this.bootstrap, this.securityGroup);
    return roles;
  }

  #makeRotation(platform: AccessiblePlatform, code: lambda.Code): AccessFunction {
    const secrets = { master: platform.masterSecret, ...this.secrets };
    const rotation = new AccessFunction(this, "Rotate", {
      platform,
      name: "rotate",
      description: "Rotates the passwords of the master user and of the logins that have one",
      code,
      securityGroup: this.securityGroup,
      secrets: this.secrets,
      statements: [
        {
          sid: "RotateSecrets",
          actions: [
            "secretsmanager:DescribeSecret",
            "secretsmanager:GetSecretValue",
            "secretsmanager:PutSecretValue",
            "secretsmanager:UpdateSecretVersionStage",
          ],
          resources: Object.values(secrets).map(({ secretArn }) => secretArn),
        },
        decryptSecrets(this, platform.encryptionKey, ["kms:Decrypt", "kms:GenerateDataKey"]),
      ],
    });
    for (const [name, secret] of Object.entries(secrets)) {
      rotation.function.addPermission(`Rotate-${name}`, {
        principal: new iam.ServicePrincipal("secretsmanager.amazonaws.com"),
        sourceArn: secret.secretArn,
        sourceAccount: Stack.of(this).account,
      });
      const schedule = new secretsmanager.CfnRotationSchedule(this, `Schedule-${name}`, {
        secretId: secret.secretArn,
        rotationLambdaArn: rotation.function.functionArn,
        rotationRules: { automaticallyAfterDays: rotationDays },
        rotateImmediatelyOnUpdate: false,
      });
      schedule.node.addDependency(this.roles, rotation);
    }
    return rotation;
  }
}

function makeSecrets(
  scope: Construct,
  platform: AccessiblePlatform,
): Record<PasswordLogin, secretsmanager.ISecret> {
  const { config, resources } = platform;
  const names = roleNames(config);
  const make = (login: PasswordLogin) =>
    new secretsmanager.Secret(scope, `Login-${login}`, {
      description: `pgkeep: login ${names[login]} of ${config.key}`,
      encryptionKey: platform.encryptionKey,
      generateSecretString: {
        secretStringTemplate: Stack.of(scope).toJsonString({
          engine: "postgres",
          host: resources.primary.host,
          port: resources.primary.port,
          dbname: resources.databaseName,
          username: names[login],
        }),
        generateStringKey: "password",
        passwordLength: 40,
        excludePunctuation: true,
      },
      // The next deployment makes another and sets it.
      removalPolicy: RemovalPolicy.DESTROY,
    }) as secretsmanager.ISecret;
  return { app: make("app"), reporting: make("reporting"), migrations: make("migrations") };
}

/** Changes when the roles do. */
function settingsDigest({ key, database, roles }: DatabaseConfig): string {
  return createHash("sha256")
    .update(JSON.stringify([key, database.name, database.engineVersion, roles]))
    .digest("hex")
    .slice(0, 16);
}
