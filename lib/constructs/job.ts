import { ArnFormat, Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import * as lambda from "aws-cdk-lib/aws-lambda";
import * as logs from "aws-cdk-lib/aws-logs";
import * as scheduler from "aws-cdk-lib/aws-scheduler";
import type * as sqs from "aws-cdk-lib/aws-sqs";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import type { GrantStatement, Grants } from "../aws/grants.ts";
import { jobResourceName } from "../aws/job-names.ts";
import { longestPeriodSeconds } from "../config/schedule.ts";
import type { Job } from "../jobs/job.ts";
import type { DatabasePlatform } from "./platform.ts";
import { explainWildcards, policyDocument } from "./policy.ts";
import { schedulerExpression } from "./schedule-expression.ts";
import { stateMachineDefinition } from "./state-machine-definition.ts";
import { type CodeFor, functionTimeoutSeconds, StepFunction } from "./step-function.ts";

export interface JobProps {
  platform: DatabasePlatform;
  job: Job;
  codeFor: CodeFor;
  grants: Grants;
  /** Gets the triggers that could not be delivered. */
  deadLetterQueue: sqs.IQueue;
  scheduleGroup: scheduler.IScheduleGroup;
}

/** Between this and the next run there is time for a trigger that comes late or again. */
const dailySeconds = 86_400;

/**
 * A job on AWS, derived from its definition: the Lambda of each step, for several steps a state machine, and
 * the schedule that starts it. A schedule of `off` leaves everything but the schedule, for people to start.
 */
export class ScheduledJob extends Construct {
  readonly functions: readonly StepFunction[];
  /** Absent for a job of one step. */
  readonly stateMachineArn: string | undefined;
  /** What the role of the state machine allows. */
  readonly stateMachineStatements: readonly GrantStatement[];

  constructor(scope: Construct, id: string, props: JobProps) {
    super(scope, id);
    const { platform, job, codeFor, grants } = props;
    this.functions = job.steps.map(
      (step) => new StepFunction(this, step.name, { platform, job, step, codeFor, grants }),
    );
    const fields = platform.config.schedules[job.name as keyof typeof platform.config.schedules];
    const schedule = fields ?? job.schedule;
    const [only, ...others] = this.functions;
    if (only === undefined) throw new RangeError(`${job.name} has no steps`);
    if (others.length === 0) {
      this.stateMachineArn = undefined;
      this.stateMachineStatements = [];
      // Scheduler only hands the event over; what Lambda does with it is decided here.
      new lambda.EventInvokeConfig(this, "Invocation", {
        function: only.function,
        retryAttempts: isFrequent(schedule) ? 0 : 1,
        maxEventAge: isFrequent(schedule) ? Duration.minutes(1) : Duration.hours(1),
      });
      if (schedule !== "off") {
        this.#schedule(props, schedule, only.function.functionArn, "lambda:InvokeFunction");
      }
      return;
    }
    const made = this.#stateMachine(platform, job);
    this.stateMachineArn = made.arn;
    this.stateMachineStatements = made.statements;
    if (schedule !== "off") this.#schedule(props, schedule, made.arn, "states:StartExecution");
  }

  #stateMachine(platform: DatabasePlatform, job: Job): { arn: string; statements: GrantStatement[] } {
    const stack = Stack.of(this);
    const name = jobResourceName(platform.resources.key, job.name);
    const logGroup = new logs.LogGroup(this, "Logs", {
      // Log delivery to names that begin so needs no entry in the region's one resource policy.
      logGroupName: `/aws/vendedlogs/states/${name}`,
      retention: logs.RetentionDays.THREE_MONTHS,
      encryptionKey: platform.encryptionKey,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const functionArns = Object.fromEntries(
      job.steps.map((step, index) => [step.name, this.functions[index]?.function.functionArn ?? ""]),
    );
    const ownArn = stack.formatArn({
      service: "states",
      resource: "stateMachine",
      resourceName: name,
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    });
    const statements: GrantStatement[] = [
      { sid: "InvokeSteps", actions: ["lambda:InvokeFunction"], resources: Object.values(functionArns) },
      {
        sid: "SendTraces",
        actions: [
          "xray:PutTraceSegments",
          "xray:PutTelemetryRecords",
          "xray:GetSamplingRules",
          "xray:GetSamplingTargets",
        ],
        resources: ["*"],
        reason: "X-Ray has no resource to name in these calls",
      },
      {
        sid: "DeliverLogs",
        actions: [
          "logs:CreateLogDelivery",
          "logs:GetLogDelivery",
          "logs:UpdateLogDelivery",
          "logs:DeleteLogDelivery",
          "logs:ListLogDeliveries",
          "logs:PutResourcePolicy",
          "logs:DescribeResourcePolicies",
          "logs:DescribeLogGroups",
        ],
        resources: ["*"],
        reason: "CloudWatch Logs has no resource to name in the calls for log delivery",
      },
    ];
    const role = new iam.Role(this, "Role", {
      roleName: `${name}-states`.slice(-64),
      description: `State machine of ${job.name} of ${platform.resources.key}`,
      assumedBy: servicePrincipal(stack, "states.amazonaws.com", ownArn),
      inlinePolicies: { run: policyDocument(statements) },
    });
    explainWildcards(role, statements);
    const definition = stateMachineDefinition({
      job,
      functionArns,
      functionTimeoutSeconds,
      waitLimitSeconds: waitLimitSeconds(platform),
    });
    const machine = new sfn.CfnStateMachine(this, "StateMachine", {
      stateMachineName: name,
      stateMachineType: "STANDARD",
      roleArn: role.roleArn,
      definitionString: stack.toJsonString(definition),
      tracingConfiguration: { enabled: true },
      loggingConfiguration: {
        level: "ALL",
        // Reports are in the executions' history and in the database, once each.
        includeExecutionData: false,
        destinations: [{ cloudWatchLogsLogGroup: { logGroupArn: logGroup.logGroupArn } }],
      },
    });
    machine.node.addDependency(role);
    return { arn: machine.attrArn, statements };
  }

  #schedule(
    { platform, job, deadLetterQueue, scheduleGroup }: JobProps,
    fields: string,
    targetArn: string,
    action: string,
  ): void {
    const stack = Stack.of(this);
    const name = jobResourceName(platform.resources.key, job.name);
    const frequent = isFrequent(fields);
    const role = new iam.Role(this, "ScheduleRole", {
      description: `Schedule of ${job.name} of ${platform.resources.key}`,
      assumedBy: servicePrincipal(stack, "scheduler.amazonaws.com", scheduleGroup.scheduleGroupArn),
      inlinePolicies: {
        start: policyDocument([
          { sid: "StartJob", actions: [action], resources: [targetArn] },
          { sid: "KeepUndelivered", actions: ["sqs:SendMessage"], resources: [deadLetterQueue.queueArn] },
        ]),
      },
    });
    const schedule = new scheduler.CfnSchedule(this, "Schedule", {
      name,
      groupName: scheduleGroup.scheduleGroupName,
      description: job.summary,
      scheduleExpression: schedulerExpression(fields, `schedules.${job.name}`),
      scheduleExpressionTimezone: platform.config.schedules.timeZone,
      // Spreads the load of many databases; a job of minutes would only become irregular.
      flexibleTimeWindow:
        periodSeconds(fields) >= dailySeconds
          ? { mode: "FLEXIBLE", maximumWindowInMinutes: 15 }
          : { mode: "OFF" },
      target: {
        arn: targetArn,
        roleArn: role.roleArn,
        input: JSON.stringify({ scheduledFor: "<aws.scheduler.scheduled-time>" }),
        deadLetterConfig: { arn: deadLetterQueue.queueArn },
        // A trigger of a frequent job is overtaken by the next one.
        retryPolicy: frequent
          ? { maximumRetryAttempts: 0, maximumEventAgeInSeconds: 60 }
          : { maximumRetryAttempts: 10, maximumEventAgeInSeconds: 3_600 },
      },
    });
    schedule.node.addDependency(role);
  }
}

/** A service that may take a role only for this account and for what has this ARN. */
export function servicePrincipal(stack: Stack, service: string, sourceArn: string): iam.IPrincipal {
  return new iam.ServicePrincipal(service, {
    conditions: {
      StringEquals: { "aws:SourceAccount": stack.account },
      ArnLike: { "aws:SourceArn": sourceArn },
    },
  });
}

/** Nothing that a job waits for takes longer than restoring; a restore that is too slow is still seen to its end. */
function waitLimitSeconds({ config }: DatabasePlatform): number {
  return Math.max(6 * 3_600, config.backups.drill.maxRtoSeconds + 3_600);
}

export function periodSeconds(fields: string): number {
  return fields === "off" ? Number.POSITIVE_INFINITY : (longestPeriodSeconds(fields) ?? 0);
}

/** Whether the next run comes before a trigger could usefully be delivered late. */
function isFrequent(fields: string): boolean {
  return periodSeconds(fields) < 3_600;
}
