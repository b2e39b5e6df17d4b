import { Stack } from "aws-cdk-lib";
import type { IKey } from "aws-cdk-lib/aws-kms";
import type { Construct } from "constructs";
import type { GrantStatement } from "../aws/grants.ts";

/** Lets a role use the database's key, through Secrets Manager only: what is encrypted with it besides stays shut. */
export function decryptSecrets(
  scope: Construct,
  key: IKey,
  actions: readonly string[] = ["kms:Decrypt"],
): GrantStatement {
  const { region } = Stack.of(scope);
  return {
    sid: "DecryptSecrets",
    actions: [...actions],
    resources: [key.keyArn],
    conditions: { StringEquals: { "kms:ViaService": `secretsmanager.${region}.amazonaws.com` } },
  };
}
