import { CfnOutput, Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { DumpTask, type DumpTaskProps } from "../constructs/dump-task.ts";

export interface DumpsStackProps extends StackProps, DumpTaskProps {}

/** Scheduled logical backups of one database. Deleting this stack keeps the dumps, their key and their log. */
export class DumpsStack extends Stack {
  readonly task: DumpTask;

  constructor(scope: Construct, id: string, { platform, network, secret, ...props }: DumpsStackProps) {
    const { config } = platform;
    super(scope, id, { terminationProtection: config.database.deletionProtection, ...props });
    this.task = new DumpTask(this, "Dumps", { platform, network, secret });
    new CfnOutput(this, "Place", {
      value: `s3://${this.task.dumps.bucket.bucketName}`,
      description: `Logical backups of ${config.key}, for --to`,
    });
    new CfnOutput(this, "TaskDefinition", {
      value: this.task.taskDefinition.taskDefinitionArn,
      description: "Runs other commands of pgkeep beside the database too",
    });
    new CfnOutput(this, "SecurityGroup", {
      value: this.task.securityGroup.securityGroupId,
      description: "Of the task",
    });
  }
}
