import type { CloudTemplate, Synthesized } from "./synth.ts";

export const account = "123456789012";
export const region = "eu-west-1";

const pseudo: Record<string, string> = {
  "AWS::AccountId": account,
  "AWS::Region": region,
  "AWS::Partition": "aws",
  "AWS::URLSuffix": "amazonaws.com",
};

/** The property that gives a resource its name, the service and the path of its ARN, by type. */
const named: Record<string, { property: string; arn: (name: string) => string }> = {
  "AWS::RDS::DBInstance": { property: "DBInstanceIdentifier", arn: (name) => arn("rds", `db:${name}`) },
  "AWS::RDS::DBCluster": { property: "DBClusterIdentifier", arn: (name) => arn("rds", `cluster:${name}`) },
  "AWS::RDS::DBSubnetGroup": { property: "DBSubnetGroupName", arn: (name) => arn("rds", `subgrp:${name}`) },
  "AWS::RDS::DBParameterGroup": { property: "DBParameterGroupName", arn: (name) => arn("rds", `pg:${name}`) },
  "AWS::RDS::DBProxy": { property: "DBProxyName", arn: (name) => arn("rds", `db-proxy:${name}`) },
  "AWS::SNS::Topic": { property: "TopicName", arn: (name) => arn("sns", name) },
  "AWS::SQS::Queue": { property: "QueueName", arn: (name) => arn("sqs", name) },
  "AWS::Lambda::Function": { property: "FunctionName", arn: (name) => arn("lambda", `function:${name}`) },
  "AWS::StepFunctions::StateMachine": {
    property: "StateMachineName",
    arn: (name) => arn("states", `stateMachine:${name}`),
  },
  "AWS::SSM::Parameter": {
    property: "Name",
    arn: (name) => arn("ssm", `parameter${name.startsWith("/") ? "" : "/"}${name}`),
  },
  "AWS::SecretsManager::Secret": {
    property: "Name",
    arn: (name) => arn("secretsmanager", `secret:${name}-AbCdEf`),
  },
  "AWS::KMS::Key": { property: "", arn: (name) => arn("kms", `key/${name}`) },
  "AWS::IAM::Role": { property: "RoleName", arn: (name) => `arn:aws:iam::${account}:role/${name}` },
  "AWS::Logs::LogGroup": { property: "LogGroupName", arn: (name) => `${arn("logs", `log-group:${name}`)}:*` },
  "AWS::Route53::HostedZone": { property: "", arn: (name) => `arn:aws:route53:::hostedzone/${name}` },
  "AWS::S3::Bucket": { property: "BucketName", arn: (name) => `arn:aws:s3:::${name}` },
};

/** Types whose `Ref` is the ARN. */
const refIsArn = ["AWS::SNS::Topic", "AWS::StepFunctions::StateMachine", "AWS::SecretsManager::Secret"];

function arn(service: string, path: string): string {
  return `arn:aws:${service}:${region}:${account}:${path}`;
}

/**
 * Evaluates values of templates as CloudFormation would, for one account and region. What only AWS knows gets a
 * made-up value that contains the resource's logical id, so that different resources have different ones.
 */
export class Deployed {
  readonly templates: Record<string, CloudTemplate>;
  readonly #exports = new Map<string, { stack: string; value: unknown }>();

  constructor({ templates }: Pick<Synthesized, "templates">) {
    this.templates = templates;
    for (const [stack, template] of Object.entries(templates)) {
      for (const output of Object.values(template.Outputs ?? {})) {
        const { Export, Value } = output as { Export?: { Name?: string }; Value: unknown };
        if (typeof Export?.Name === "string") this.#exports.set(Export.Name, { stack, value: Value });
      }
    }
  }

  /** A value without intrinsic functions. */
  value(stack: string, given: unknown): unknown {
    if (Array.isArray(given)) return given.map((item) => this.value(stack, item));
    if (typeof given !== "object" || given === null) return given;
    const entries = Object.entries(given);
    const [name, argument] = entries[0] ?? [];
    if (entries.length === 1 && (name === "Ref" || name?.startsWith("Fn::") === true)) {
      return this.#intrinsic(stack, name, argument);
    }
    return Object.fromEntries(entries.map(([key, value]) => [key, this.value(stack, value)]));
  }

  text(stack: string, given: unknown): string {
    return String(this.value(stack, given));
  }

  arnOf(stack: string, logicalId: string): string {
    const resource = this.templates[stack]?.Resources[logicalId];
    const kind = named[resource?.Type ?? ""];
    return kind === undefined ? `arn-of-${logicalId}` : kind.arn(this.nameOf(stack, logicalId));
  }

  nameOf(stack: string, logicalId: string): string {
    const resource = this.templates[stack]?.Resources[logicalId];
    const property = named[resource?.Type ?? ""]?.property ?? "";
    const given = resource?.Properties?.[property];
    return given === undefined ? `${stack}-${logicalId}` : this.text(stack, given);
  }

  #intrinsic(stack: string, name: string, argument: unknown): unknown {
    if (name === "Ref") return this.#ref(stack, String(argument));
    if (name === "Fn::GetAtt") {
      const [logicalId = "", attribute = ""] =
        typeof argument === "string" ? argument.split(/\.(.*)/s) : (argument as string[]);
      const arns = ["Arn", "TopicArn", "DBInstanceArn", "DBClusterArn", "DBProxyArn"];
      return arns.includes(attribute) ? this.arnOf(stack, logicalId) : `${attribute}-of-${logicalId}`;
    }
    if (name === "Fn::ImportValue") {
      const exported = this.#exports.get(this.text(stack, argument));
      if (exported === undefined) throw new Error(`nothing exports ${JSON.stringify(argument)}`);
      return this.value(exported.stack, exported.value);
    }
    const evaluated = this.value(stack, argument);
    if (name === "Fn::Join") {
      const [separator, parts] = evaluated as [string, unknown[] | string];
      return Array.isArray(parts) ? parts.join(separator) : parts;
    }
    if (name === "Fn::Split") {
      const [separator, text] = evaluated as [string, string];
      return text.split(separator);
    }
    if (name === "Fn::Select") {
      const [index, items] = evaluated as [number | string, unknown];
      return Array.isArray(items) ? items[Number(index)] : `${index}-of-${String(items)}`;
    }
    if (name === "Fn::GetAZs") return ["a", "b", "c"].map((zone) => `${region}${zone}`);
    if (name === "Fn::Sub") {
      const [text, values] = Array.isArray(evaluated) ? evaluated : [evaluated, {}];
      return String(text).replaceAll(/\$\{([^}]+)\}/g, (_, key: string) =>
        String((values as Record<string, unknown>)[key] ?? this.#ref(stack, key)),
      );
    }
    throw new Error(`no rule for ${name} in ${stack}`);
  }

  #ref(stack: string, logicalId: string): string {
    const known = pseudo[logicalId];
    if (known !== undefined) return known;
    const { Type: type = "", Properties } = this.templates[stack]?.Resources[logicalId] ?? {};
    if (type === "AWS::SecretsManager::SecretTargetAttachment") return this.text(stack, Properties?.SecretId);
    return refIsArn.includes(type) ? this.arnOf(stack, logicalId) : this.nameOf(stack, logicalId);
  }
}
