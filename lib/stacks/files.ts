import { CfnOutput, Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { FilesBucket, type FilesBucketProps } from "../constructs/files-bucket.ts";

export interface FilesStackProps extends StackProps, FilesBucketProps {}

/** The files that belong with one database. Deleting this stack keeps them, their key and their log. */
export class FilesStack extends Stack {
  readonly files: FilesBucket;

  constructor(scope: Construct, id: string, { config, ...props }: FilesStackProps) {
    super(scope, id, { terminationProtection: config.database.deletionProtection, ...props });
    this.files = new FilesBucket(this, "Files", { config });
    new CfnOutput(this, "BucketName", {
      value: this.files.bucket.bucketName,
      description: `Bucket of the files of ${config.key}`,
    });
  }
}
