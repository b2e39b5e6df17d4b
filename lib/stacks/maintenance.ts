import { Duration, Stack, type StackProps, Validations } from "aws-cdk-lib";
import { ScheduleGroup } from "aws-cdk-lib/aws-scheduler";
import { Queue, QueueEncryption } from "aws-cdk-lib/aws-sqs";
import type { Construct } from "constructs";
import { grants as awsGrants, type Grants } from "../aws/grants.ts";
import { stepCode } from "../constructs/bundle.ts";
import { ScheduledJob } from "../constructs/job.ts";
import type { DatabasePlatform } from "../constructs/platform.ts";
import type { CodeFor } from "../constructs/step-function.ts";
import { assertWindowsClear } from "../constructs/windows.ts";
import { jobs as allJobs } from "../jobs/index.ts";
import type { Job } from "../jobs/job.ts";

export interface MaintenanceStackProps extends StackProps {
  platform: DatabasePlatform;
  /** By default all. */
  jobs?: readonly Job[];
  /** By default the bundles of this package. */
  codeFor?: CodeFor;
  /** By default what the adapters of lib/aws call. */
  grants?: Grants;
}

/** Every job of one database on its schedule. */
export class MaintenanceStack extends Stack {
  readonly jobs: readonly ScheduledJob[];
  readonly deadLetterQueue: Queue;

  constructor(scope: Construct, id: string, props: MaintenanceStackProps) {
    const { platform, jobs = allJobs, codeFor = stepCode, grants = awsGrants, ...stackProps } = props;
    super(scope, id, stackProps);
    assertWindowsClear(platform.config, jobs);
    const name = `pgkeep-${platform.config.key}`;
    this.deadLetterQueue = new Queue(this, "Undelivered", {
      queueName: `${name}-undelivered`,
      // Triggers hold no data of the database, so SQS's own key will do.
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: Duration.days(14),
    });
    Validations.of(this.deadLetterQueue).acknowledge({
      id: "AwsSolutions-SQS3",
      reason: "This is the dead-letter queue: of EventBridge Scheduler, which cdk-nag does not look at",
    });
    const scheduleGroup = new ScheduleGroup(this, "Schedules", { scheduleGroupName: name });
    this.jobs = jobs.map(
      (job) =>
        new ScheduledJob(this, job.name, {
          platform,
          job,
          codeFor,
          grants,
          deadLetterQueue: this.deadLetterQueue,
          scheduleGroup,
        }),
    );
  }
}
