import { runSimulation } from "@cloud-copilot/iam-simulate";
import { account, Deployed } from "./deployed.ts";
import type { PlacedResource, Synthesized } from "./synth.ts";

export interface CloudCall {
  action: string;
  resource: string;
  /** What AWS knows of the call: tags, namespaces. */
  context?: Record<string, string>;
}

export interface NamedPolicy {
  name: string;
  policy: { Version: string; Statement: Record<string, unknown>[] };
}

/** The identity of a deployed Lambda: its role, and what that may do. */
export interface FunctionIdentity {
  /** Name of the function, without the parts that only CloudFormation gives. */
  name: string;
  stack: string;
  environment: Record<string, unknown>;
  role: string;
  /** ARNs of AWS's own policies that the role also has. */
  managedPolicies: string[];
  policies: NamedPolicy[];
}

/** Every Lambda of an assembly with the policies of its role, evaluated. */
export function functionIdentities(synthesized: Synthesized): FunctionIdentity[] {
  const deployed = new Deployed(synthesized);
  const ofType = (type: string) => synthesized.resources.filter((resource) => resource.Type === type);
  const roles = ofType("AWS::IAM::Role").map((role) => ({
    role,
    arn: deployed.arnOf(role.stack, role.logicalId),
  }));
  return ofType("AWS::Lambda::Function").map((lambda) => {
    const properties = deployed.value(lambda.stack, lambda.Properties) as {
      Role: string;
      Environment?: { Variables?: Record<string, unknown> };
    };
    const found = roles.find(({ arn }) => arn === properties.Role);
    if (found === undefined) throw new Error(`no template has the role ${properties.Role}`);
    const { role } = found;
    const roleProperties = deployed.value(role.stack, role.Properties) as {
      ManagedPolicyArns?: string[];
      Policies?: { PolicyName: string; PolicyDocument: NamedPolicy["policy"] }[];
    };
    const roleName = deployed.nameOf(role.stack, role.logicalId);
    return {
      name: deployed.nameOf(lambda.stack, lambda.logicalId),
      stack: lambda.stack,
      environment: properties.Environment?.Variables ?? {},
      role: properties.Role,
      managedPolicies: roleProperties.ManagedPolicyArns ?? [],
      policies: [
        ...(roleProperties.Policies ?? []).map(({ PolicyName, PolicyDocument }) => ({
          name: PolicyName,
          policy: PolicyDocument,
        })),
        ...ofType("AWS::IAM::Policy").flatMap((policy) => attached(deployed, policy, roleName)),
      ],
    };
  });
}

function attached(deployed: Deployed, policy: PlacedResource, roleName: string): NamedPolicy[] {
  const { Roles, PolicyDocument } = deployed.value(policy.stack, policy.Properties) as {
    Roles?: string[];
    PolicyDocument: NamedPolicy["policy"];
  };
  return Roles?.includes(roleName) === true ? [{ name: policy.logicalId, policy: PolicyDocument }] : [];
}

const keyPolicy = {
  Version: "2012-10-17",
  Statement: [
    {
      Effect: "Allow",
      Principal: { AWS: `arn:aws:iam::${account}:root` },
      Action: "kms:*",
      Resource: "*",
    },
  ],
};

/**
 * Whether IAM would allow a call to whoever has these policies.
 * @throws Error when the call, or a policy, is nothing that IAM knows: a misspelt call would always be denied
 */
export async function allows(policies: NamedPolicy[], call: CloudCall): Promise<boolean> {
  const result = await runSimulation(
    {
      request: {
        principal: `arn:aws:iam::${account}:role/simulated`,
        action: call.action,
        resource: { resource: call.resource, accountId: account },
        contextVariables: call.context ?? {},
      },
      identityPolicies: policies,
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      // A key's policy hands its use over to the account's IAM policies; without it, every call is denied.
      ...(call.action.startsWith("kms:") ? { resourcePolicy: keyPolicy } : {}),
    },
    {},
  );
  if (result.resultType === "error") {
    throw new Error(`${call.action} on ${call.resource}: ${JSON.stringify(result.errors)}`);
  }
  return result.overallResult === "Allowed";
}
