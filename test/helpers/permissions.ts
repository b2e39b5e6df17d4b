import { runSimulation } from "@cloud-copilot/iam-simulate";
import { account, Deployed } from "./deployed.ts";
import type { PlacedResource, Synthesized } from "./synth.ts";

/** One question to IAM. */
export interface CloudCall {
  action: string;
  resource: string;
  /** What AWS knows of the call and of the resource: tags, names, services. */
  context?: Record<string, string | string[]>;
}

/** A statement of a policy, evaluated: no intrinsic function is left in it. */
export interface IamStatement {
  /** Absent where somebody else's construct wrote the policy. */
  Sid?: string;
  Effect: string;
  Action: string[];
  Resource: string[];
  Condition?: Record<string, Record<string, unknown>>;
}

/** A function that a template makes. */
export interface DeployedFunction {
  /** Without the parts that only CloudFormation gives. */
  name: string;
  arn: string;
  environment: Record<string, string>;
}

/** A role of a template, and what it may do. */
export interface Identity {
  /** Name of the role. */
  name: string;
  stack: string;
  logicalId: string;
  /** The service that takes the role. */
  service: string;
  /** ARNs of AWS's own policies that the role also has. */
  managedPolicies: string[];
  statements: IamStatement[];
  /** What runs with the role, when that is a Lambda. */
  lambda?: DeployedFunction;
}

interface RawStatement extends Omit<IamStatement, "Action" | "Resource"> {
  Action: string | string[];
  Resource: string | string[];
}

interface RawPolicy {
  Statement: RawStatement | RawStatement[];
}

const listed = <Value>(value: Value | Value[] | undefined): Value[] =>
  value === undefined ? [] : Array.isArray(value) ? value : [value];

/** Every role of an assembly with the statements of all its policies. */
export function identitiesOf(synthesized: Synthesized): Identity[] {
  const deployed = new Deployed(synthesized);
  const ofType = (type: string) => synthesized.resources.filter((resource) => resource.Type === type);
  const lambdas = ofType("AWS::Lambda::Function").map((lambda) => functionOf(deployed, lambda));
  const policies = ofType("AWS::IAM::Policy").map(
    ({ stack, Properties }) =>
      deployed.value(stack, Properties) as { Roles?: string[]; PolicyDocument: RawPolicy },
  );
  return ofType("AWS::IAM::Role").map(({ stack, logicalId, Properties }) => {
    const role = deployed.value(stack, Properties) as {
      AssumeRolePolicyDocument: { Statement: { Principal: { Service: string } }[] };
      ManagedPolicyArns?: string[];
      Policies?: { PolicyDocument: RawPolicy }[];
    };
    const name = deployed.nameOf(stack, logicalId);
    const arn = deployed.arnOf(stack, logicalId);
    const lambda = lambdas.find((candidate) => candidate.role === arn)?.lambda;
    return {
      name,
      stack,
      logicalId,
      service: role.AssumeRolePolicyDocument.Statement[0]?.Principal.Service ?? "",
      managedPolicies: role.ManagedPolicyArns ?? [],
      statements: [
        ...(role.Policies ?? []).map(({ PolicyDocument }) => PolicyDocument),
        ...policies.filter(({ Roles }) => Roles?.includes(name)).map(({ PolicyDocument }) => PolicyDocument),
      ].flatMap(({ Statement }) => listed(Statement).map(statementOf)),
      ...(lambda === undefined ? {} : { lambda }),
    };
  });
}

function functionOf(deployed: Deployed, { stack, logicalId, Properties }: PlacedResource) {
  const { Role, Environment } = deployed.value(stack, Properties) as {
    Role: string;
    Environment?: { Variables?: Record<string, string> };
  };
  return {
    role: Role,
    lambda: {
      name: deployed.nameOf(stack, logicalId),
      arn: deployed.arnOf(stack, logicalId),
      environment: Environment?.Variables ?? {},
    },
  };
}

function statementOf({ Action, Resource, ...rest }: RawStatement): IamStatement {
  return { ...rest, Action: listed(Action), Resource: listed(Resource) };
}

/** The default policy of a key: IAM decides. Without one, nobody may use it. */
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

const answers = new Map<string, Promise<boolean>>();

/**
 * Whether IAM would allow a call to whoever has these statements and no others.
 * @throws Error when the call, or a policy, is nothing that IAM knows: a misspelt call would always be denied
 */
export function allows(statements: readonly IamStatement[], call: CloudCall): Promise<boolean> {
  const question = JSON.stringify([statements, call]);
  const known = answers.get(question);
  if (known !== undefined) return known;
  const answer = ask(statements, call);
  answers.set(question, answer);
  return answer;
}

async function ask(statements: readonly IamStatement[], call: CloudCall): Promise<boolean> {
  const result = await runSimulation(
    {
      request: {
        principal: `arn:aws:iam::${account}:role/simulated`,
        action: call.action,
        resource: { resource: call.resource, accountId: account },
        contextVariables: call.context ?? {},
      },
      identityPolicies: [{ name: "all", policy: { Version: "2012-10-17", Statement: [...statements] } }],
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

/** The calls that these statements do not allow. */
export async function deniedBy(
  statements: readonly IamStatement[],
  calls: readonly CloudCall[],
): Promise<CloudCall[]> {
  const denied: CloudCall[] = [];
  for (const call of calls) if (!(await allows(statements, call))) denied.push(call);
  return denied;
}

/** A part of what is allowed: an action or a resource of a statement. */
export interface Part {
  statement: IamStatement;
  /** The action or the resource. */
  part: string;
  /** What is left without it. */
  rest: IamStatement[];
}

/** Each action and each resource that could be taken away from one of the statements; a denial has none. */
export function partsOf(statements: readonly IamStatement[], index: number): Part[] {
  const statement = statements[index];
  if (statement?.Effect !== "Allow") return [];
  return (["Action", "Resource"] as const).flatMap((list) =>
    statement[list].map((part) => {
      const less = statement[list].filter((other) => other !== part);
      const rest =
        less.length === 0
          ? statements.toSpliced(index, 1)
          : statements.with(index, { ...statement, [list]: less });
      return { statement, part, rest };
    }),
  );
}

/** Whether one of the calls, all of which are allowed with the part, is denied without it. */
export async function isNeeded({ statement, rest }: Part, calls: readonly CloudCall[]): Promise<boolean> {
  for (const call of calls) {
    if (statement.Action.includes(call.action) && !(await allows(rest, call))) return true;
  }
  return false;
}
