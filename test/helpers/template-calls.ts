import { account, Deployed, region } from "./deployed.ts";
import type { CloudCall, Identity } from "./permissions.ts";
import type { PlacedResource, Synthesized } from "./synth.ts";

/** What AWS's services call in the name of a role, as the resources that have the role tell them to. */
export function callsOfServices(synthesized: Synthesized, identity: Identity): CloudCall[] {
  const deployed = new Deployed(synthesized);
  const arn = deployed.arnOf(identity.stack, identity.logicalId);
  return synthesized.resources.flatMap((resource) => {
    const read = readers[resource.Type];
    if (read === undefined) return [];
    const properties = deployed.value(resource.stack, resource.Properties) as Record<string, unknown>;
    return read(properties, arn, { deployed, resource });
  });
}

interface Place {
  deployed: Deployed;
  resource: PlacedResource;
}

type Reader = (properties: Record<string, unknown>, role: string, place: Place) => CloudCall[];

const readers: Record<string, Reader> = {
  "AWS::StepFunctions::StateMachine": ({ RoleArn, DefinitionString }, role, { deployed, resource }) =>
    RoleArn === role
      ? tasksOf(JSON.parse(String(DefinitionString)), deployed.arnOf(resource.stack, resource.logicalId))
      : [],
  "AWS::Scheduler::Schedule": ({ Target }, role) => {
    const target = Target as { Arn: string; RoleArn: string; DeadLetterConfig?: { Arn: string } };
    if (target.RoleArn !== role) return [];
    const action = target.Arn.includes(":states:") ? "states:StartExecution" : "lambda:InvokeFunction";
    const undelivered = target.DeadLetterConfig?.Arn;
    return [
      { action, resource: target.Arn },
      ...(undelivered === undefined ? [] : [{ action: "sqs:SendMessage", resource: undelivered }]),
    ];
  },
  "AWS::RDS::DBProxy": ({ RoleArn, Auth }, role, { deployed, resource }) => {
    if (RoleArn !== role) return [];
    return ((Auth ?? []) as { SecretArn: string }[]).flatMap(({ SecretArn }) => [
      { action: "secretsmanager:GetSecretValue", resource: SecretArn },
      {
        action: "kms:Decrypt",
        resource: keyOfSecret(deployed, SecretArn, resource),
        context: { "kms:ViaService": `secretsmanager.${region}.amazonaws.com` },
      },
    ]);
  },
};

/** Each task of a state machine's definition, wherever it stands. */
function tasksOf(definition: unknown, machine: string): CloudCall[] {
  if (typeof definition !== "object" || definition === null) return [];
  const { Type, Resource } = definition as { Type?: unknown; Resource?: unknown };
  const below = Object.values(definition).flatMap((value) => tasksOf(value, machine));
  if (Type !== "Task") return below;
  const resource = String(Resource);
  if (resource.includes(":lambda:")) return [...below, { action: "lambda:InvokeFunction", resource }];
  if (resource.endsWith(":aws-sdk:sfn:listExecutions")) {
    return [...below, { action: "states:ListExecutions", resource: machine }];
  }
  throw new Error(`nobody has said what a task of ${resource} calls`);
}

function keyOfSecret(deployed: Deployed, secret: string, { stack }: PlacedResource): string {
  for (const [name, template] of Object.entries(deployed.templates)) {
    for (const [logicalId, { Type, Properties }] of Object.entries(template.Resources)) {
      if (Type !== "AWS::SecretsManager::Secret" || deployed.arnOf(name, logicalId) !== secret) continue;
      return deployed.text(name, Properties?.KmsKeyId);
    }
  }
  throw new Error(`no template makes ${secret}, which ${stack} uses (account ${account})`);
}
