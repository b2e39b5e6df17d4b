import { Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import * as lambda from "aws-cdk-lib/aws-lambda";
import { describe, expect, it } from "vitest";
import { grants } from "../../lib/aws/grants.ts";
import { databaseConfigSchema } from "../../lib/config/schema.ts";
import type { StateMachineDefinition } from "../../lib/constructs/state-machine-definition.ts";
import { jobs } from "../../lib/jobs/index.ts";
import { again, defineJob, done, type Job, step } from "../../lib/jobs/job.ts";
import { MaintenanceStack } from "../../lib/stacks/maintenance.ts";
import { makePlatform, markedGrants } from "../helpers/platform.ts";

const inline = () => lambda.Code.fromInline("exports.handler = async () => ({})");

interface Resource {
  Type: string;
  Properties: Record<string, unknown>;
  DependsOn?: string[];
}

interface Statement {
  Sid: string;
  Effect: string;
  Action: string | string[];
  Resource: unknown;
  Condition?: Record<string, Record<string, unknown>>;
}

function synthesize(
  list: readonly Job[] = jobs,
  schedules: Record<string, string> = {},
  granted = markedGrants,
) {
  const { app, platform } = makePlatform({ schedules: databaseConfigSchema.parse({ schedules }).schedules });
  const stack = new MaintenanceStack(app, "maintenance", {
    platform,
    jobs: list,
    codeFor: inline,
    grants: granted,
  });
  const template = Template.fromStack(stack).toJSON() as { Resources: Record<string, Resource> };
  const database = Template.fromStack(Stack.of(platform.vpc)).toJSON();
  const ofType = (type: string) =>
    Object.values(template.Resources).filter((resource) => resource.Type === type);
  const byName = (type: string, property: string, name: string) => {
    const found = ofType(type).find(({ Properties }) => Properties[property] === name);
    if (found === undefined) throw new Error(`no ${type} named ${name}`);
    return found;
  };
  return { stack, template, database, ofType, byName };
}

const asList = <T>(value: T | T[]): T[] => (Array.isArray(value) ? value : [value]);

function statementsOf({ Properties }: Resource): Statement[] {
  const policies = (Properties.Policies ?? []) as { PolicyDocument: { Statement: Statement[] } }[];
  return policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement);
}

const functionNames = jobs.flatMap((job) =>
  job.steps.map((one) => ({
    job,
    step: one,
    name: `pgkeep-shop-${job.name}${job.steps.length === 1 ? "" : `-${one.name}`}`,
  })),
);

describe("the Lambda of a step", () => {
  const made = synthesize();

  it("is there once for each step of each job, and nothing else is", () => {
    const names = made.ofType("AWS::Lambda::Function").map(({ Properties }) => Properties.FunctionName);
    expect(names.sort()).toEqual(functionNames.map(({ name }) => name).sort());
  });

  it.each(functionNames)(
    "runs $name on Node 24 and arm64, with its own role and log group",
    ({ job, step: one, name }) => {
      const { Properties } = made.byName("AWS::Lambda::Function", "FunctionName", name);
      expect(Properties).toMatchObject({
        Runtime: "nodejs24.x",
        Architectures: ["arm64"],
        Timeout: Math.min(900, one.timeoutSeconds),
        TracingConfig: { Mode: "Active" },
      });
      expect(Properties.ReservedConcurrentExecutions).toBe(job.lock === "required" ? 1 : undefined);
      expect(Properties.VpcConfig !== undefined).toBe(one.where === "database");
      const { Variables } = Properties.Environment as { Variables: Record<string, unknown> };
      expect(Variables).toMatchObject({ PGKEEP_JOB: job.name, PGKEEP_STEP: one.name });
      expect(Object.keys(Variables).sort()).toEqual([
        "PGKEEP_CONFIG",
        "PGKEEP_JOB",
        "PGKEEP_RESOURCES",
        "PGKEEP_STEP",
      ]);
      const logs = made.byName("AWS::Logs::LogGroup", "LogGroupName", `/aws/lambda/${name}`);
      expect(logs.Properties.RetentionInDays).toBe(90);
      expect(logs.Properties.KmsKeyId).toBeDefined();
      const roles = made.ofType("AWS::IAM::Role").filter((role) => role.Properties.RoleName === name);
      expect(roles).toHaveLength(1);
    },
  );

  it("runs as many control-plane steps outside the VPC as there are", () => {
    const outside = made
      .ofType("AWS::Lambda::Function")
      .filter(({ Properties }) => Properties.VpcConfig === undefined);
    const steps = jobs.flatMap((job) => job.steps.filter(({ where }) => where === "control-plane"));
    expect(outside).toHaveLength(steps.length);
    expect(steps.length).toBeGreaterThan(0);
  });
});

describe("the role of a step", () => {
  const made = synthesize();
  const allowed = (name: string) =>
    statementsOf(made.byName("AWS::IAM::Role", "RoleName", name))
      .filter(({ Effect }) => Effect === "Allow")
      .flatMap(({ Action }) => asList(Action));

  it("has the grants of its ports and nothing of another port", () => {
    const publishing = allowed("pgkeep-shop-route-replicas-publish");
    expect(publishing.filter((action) => action.startsWith("test:"))).toEqual(["test:routing"]);
    const probing = allowed("pgkeep-shop-route-replicas-probe");
    expect(probing.filter((action) => action.startsWith("test:"))).toEqual(["test:primary"]);
  });

  it("has the logins of the step and of the record, and no other", () => {
    const logins = (name: string) =>
      statementsOf(made.byName("AWS::IAM::Role", "RoleName", name))
        .filter(({ Action }) => asList(Action).includes("test:primary"))
        .map(({ Resource }) => Resource);
    expect(logins("pgkeep-shop-vacuum")).toEqual(["arn:aws:test:::dbuser/maintenance"]);
    expect(logins("pgkeep-shop-drill-restore-prove")).toEqual([
      "arn:aws:test:::dbuser/monitoring",
      "arn:aws:test:::dbuser/drill",
    ]);
  });

  it("goes no further than the functions of a port that the step says it calls", () => {
    const backups = (name: string) =>
      statementsOf(made.byName("AWS::IAM::Role", "RoleName", name))
        .filter(({ Action }) => asList(Action).includes("test:backups"))
        .map(({ Resource }) => Resource);
    expect(backups("pgkeep-shop-back-up-copy")).toEqual(["arn:aws:test:::backups/list,create"]);
    expect(backups("pgkeep-shop-drill-restore-clean-up")).toEqual([
      "arn:aws:test:::backups/discard,markVerified",
    ]);
    expect(backups("pgkeep-shop-drill-restore-prove")).toEqual([]);
  });

  it("lets the drill delete nothing that it did not make", () => {
    const real = synthesize(jobs, {}, grants);
    const removing = real
      .ofType("AWS::IAM::Role")
      .flatMap(statementsOf)
      .filter(({ Action }) => asList(Action).some((action) => action.startsWith("rds:DeleteDBInstance")));
    expect(removing.length).toBeGreaterThan(0);
    for (const { Condition } of removing) {
      expect(Condition?.StringEquals).toMatchObject({
        "aws:ResourceTag/pgkeep:restored-for": "drill",
        "aws:ResourceTag/pgkeep:database": "shop",
      });
    }
    const restoring = real
      .ofType("AWS::IAM::Role")
      .filter((role) => JSON.stringify(statementsOf(role)).includes("rds:RestoreDBInstance"));
    expect(restoring.map(({ Properties }) => Properties.RoleName)).toEqual([
      "pgkeep-shop-drill-restore-restore",
    ]);
  });

  it("has a policy that fits into a role", () => {
    for (const role of synthesize(jobs, {}, grants).ofType("AWS::IAM::Role")) {
      expect(JSON.stringify(statementsOf(role)).length).toBeLessThan(10_240);
    }
  });

  it("may use network interfaces only for steps in the VPC, and never from the step's own code", () => {
    for (const { name, step: one } of functionNames) {
      const statements = statementsOf(made.byName("AWS::IAM::Role", "RoleName", name));
      const ec2 = statements.filter(({ Action }) =>
        asList(Action).some((action) => action.startsWith("ec2:")),
      );
      if (one.where === "control-plane") {
        expect(ec2).toEqual([]);
        continue;
      }
      const actions = (effect: string) =>
        new Set(ec2.filter(({ Effect }) => Effect === effect).flatMap(({ Action }) => asList(Action)));
      expect(actions("Deny")).toEqual(actions("Allow"));
      const denied = ec2.find(({ Effect }) => Effect === "Deny");
      expect(JSON.stringify(denied?.Condition?.ArnEquals)).toContain(`:function:${name}"`);
    }
  });

  it("allows no action by a wildcard, and every resource only where the statement says why", () => {
    const reasons = made.stack.jobs.flatMap((job) => [
      ...job.functions.flatMap((one) => one.statements),
      ...job.stateMachineStatements,
    ]);
    const explained = new Set(reasons.filter(({ reason }) => reason !== undefined).map(({ sid }) => sid));
    let seen = 0;
    for (const role of made.ofType("AWS::IAM::Role")) {
      expect(role.Properties.ManagedPolicyArns).toBeUndefined();
      for (const statement of statementsOf(role)) {
        seen += 1;
        expect(asList(statement.Action).filter((action) => action.includes("*"))).toEqual([]);
        if (/\*"?/.test(JSON.stringify(statement.Resource))) expect(explained).toContain(statement.Sid);
      }
    }
    expect(seen).toBeGreaterThan(functionNames.length * 2);
    expect(made.ofType("AWS::IAM::Policy")).toEqual([]);
  });
});

describe("the schedule of a job", () => {
  const made = synthesize(jobs, { timeZone: "America/New_York", vacuum: "45 1 * * 7" });

  it("is there for each job, in the configured time zone", () => {
    const schedules = made.ofType("AWS::Scheduler::Schedule");
    expect(schedules.map(({ Properties }) => Properties.Name).sort()).toEqual(
      jobs.map((job) => `pgkeep-shop-${job.name}`).sort(),
    );
    for (const { Properties } of schedules) {
      expect(Properties.ScheduleExpressionTimezone).toBe("America/New_York");
    }
    const vacuum = made.byName("AWS::Scheduler::Schedule", "Name", "pgkeep-shop-vacuum");
    expect(vacuum.Properties.ScheduleExpression).toBe("cron(45 1 ? * SUN *)");
  });

  it("is exact for jobs of minutes and has a window and retries for daily ones", () => {
    const of = (name: string) => made.byName("AWS::Scheduler::Schedule", "Name", name).Properties;
    expect(of("pgkeep-shop-check-health")).toMatchObject({
      FlexibleTimeWindow: { Mode: "OFF" },
      Target: { RetryPolicy: { MaximumRetryAttempts: 0, MaximumEventAgeInSeconds: 60 } },
    });
    expect(of("pgkeep-shop-back-up")).toMatchObject({
      FlexibleTimeWindow: { Mode: "FLEXIBLE" },
      Target: { RetryPolicy: { MaximumRetryAttempts: 10 }, Input: expect.stringContaining("scheduled-time") },
    });
  });

  it("may start its own target only, and leaves what it cannot deliver in an encrypted queue", () => {
    for (const { Properties } of made.ofType("AWS::Scheduler::Schedule")) {
      const target = Properties.Target as {
        Arn: unknown;
        RoleArn: { "Fn::GetAtt": [string, string] };
        DeadLetterConfig: { Arn: { "Fn::GetAtt": [string, string] } };
      };
      const role = made.template.Resources[target.RoleArn["Fn::GetAtt"][0]];
      if (role === undefined) throw new Error("no role");
      const [start, undelivered, ...others] = statementsOf(role);
      expect(start?.Resource).toEqual(target.Arn);
      expect(undelivered?.Resource).toEqual(target.DeadLetterConfig.Arn);
      expect(others).toEqual([]);
      const trust = JSON.stringify(role.Properties.AssumeRolePolicyDocument);
      expect(trust).toContain("aws:SourceAccount");
      const queue = made.template.Resources[target.DeadLetterConfig.Arn["Fn::GetAtt"][0]];
      expect(queue?.Properties.SqsManagedSseEnabled).toBe(true);
    }
    expect(JSON.stringify(made.ofType("AWS::SQS::QueuePolicy"))).toContain('"aws:SecureTransport":"false"');
  });

  it("is left out when it is off, and the job stays for people to start", () => {
    const off = synthesize(jobs, { "drill-restore": "off", "check-health": "off" });
    const names = off.ofType("AWS::Scheduler::Schedule").map(({ Properties }) => Properties.Name);
    expect(names).toHaveLength(jobs.length - 2);
    expect(names).not.toContain("pgkeep-shop-drill-restore");
    expect(
      off.byName("AWS::StepFunctions::StateMachine", "StateMachineName", "pgkeep-shop-drill-restore"),
    ).toBeDefined();
    expect(off.ofType("AWS::Lambda::Function")).toHaveLength(functionNames.length);
  });

  it("is refused at synthesis when AWS has no such time", () => {
    expect(() => synthesize(jobs, { vacuum: "0 4 1 * 1" })).toThrow(
      /schedules\.vacuum: AWS cannot run a job at/,
    );
  });
});

describe("a job of several steps", () => {
  const made = synthesize();
  const several = jobs.filter(({ steps }) => steps.length > 1);

  it("is a logged and traced standard state machine that may invoke its own steps only", () => {
    expect(made.ofType("AWS::StepFunctions::StateMachine")).toHaveLength(several.length);
    for (const job of several) {
      const name = `pgkeep-shop-${job.name}`;
      const { Properties } = made.byName("AWS::StepFunctions::StateMachine", "StateMachineName", name);
      expect(Properties).toMatchObject({
        StateMachineType: "STANDARD",
        TracingConfiguration: { Enabled: true },
        LoggingConfiguration: { Level: "ALL" },
      });
      const [roleId = ""] = (Properties.RoleArn as { "Fn::GetAtt": string[] })["Fn::GetAtt"];
      const role = made.template.Resources[roleId];
      const invoke =
        role === undefined ? undefined : statementsOf(role).find(({ Sid }) => Sid === "InvokeSteps");
      const invoked = asList(invoke?.Resource as { "Fn::GetAtt": string[] }).map(
        (arn) => made.template.Resources[arn["Fn::GetAtt"][0] ?? ""]?.Properties.FunctionName,
      );
      expect(invoked.sort()).toEqual(job.steps.map((one) => `${name}-${one.name}`).sort());
    }
  });

  it("names every function in its definition", () => {
    const { Properties } = made.byName(
      "AWS::StepFunctions::StateMachine",
      "StateMachineName",
      "pgkeep-shop-drill-restore",
    );
    const [, parts] = (Properties.DefinitionString as { "Fn::Join": [string, unknown[]] })["Fn::Join"];
    const text = parts.map((part) => (typeof part === "string" ? part : "token")).join("");
    const definition = JSON.parse(text) as StateMachineDefinition;
    for (const name of ["restore", "prove", "clean-up"]) {
      expect(definition.States[name]).toMatchObject({ Type: "Task", Resource: "token" });
    }
  });
});

describe("the stack", () => {
  it("follows the list of jobs without further code", () => {
    const extra = [
      defineJob({
        name: "count-rows",
        summary: "Count",
        schedule: "0 5 * * *",
        role: "monitoring",
        steps: [
          step("count", {
            where: "database",
            needs: ["primary"],
            timeoutSeconds: 60,
            run: async () => done(1),
          }),
          step("tell", {
            where: "control-plane",
            needs: ["routing"],
            timeoutSeconds: 60,
            run: async () => again(5, 1),
          }),
        ],
      }),
      defineJob({
        name: "look",
        summary: "Look",
        schedule: "*/10 * * * *",
        lock: "when-possible",
        steps: [
          step("look", {
            where: "database",
            needs: ["replicas"],
            timeoutSeconds: 60,
            run: async () => done(1),
          }),
        ],
      }),
    ];
    const made = synthesize([...jobs, ...extra]);
    for (const name of ["pgkeep-shop-count-rows-count", "pgkeep-shop-count-rows-tell", "pgkeep-shop-look"]) {
      expect(made.byName("AWS::Lambda::Function", "FunctionName", name)).toBeDefined();
    }
    expect(
      made.byName("AWS::StepFunctions::StateMachine", "StateMachineName", "pgkeep-shop-count-rows"),
    ).toBeDefined();
    expect(
      made.byName("AWS::Scheduler::Schedule", "Name", "pgkeep-shop-look").Properties.ScheduleExpression,
    ).toBe("cron(0/10 * * * ? *)");
  });

  it("is the same each time it is synthesized", () => {
    expect(synthesize().template).toEqual(synthesize().template);
  });

  it("leaves the template of the database as it is, whatever the jobs are", () => {
    const outputsAside = ({ Outputs: _, ...rest }: Record<string, unknown>) => rest;
    expect(outputsAside(synthesize().database)).toEqual(outputsAside(synthesize(jobs.slice(0, 1)).database));
  });
});
