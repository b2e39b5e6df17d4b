import { PgkeepError } from "../errors.ts";
import type { AwsKeys } from "./iam-token.ts";

/** The keys that Lambda puts into a function's environment. @throws PgkeepError `authentication` */
export function environmentKeys(): AwsKeys {
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN,
  } = process.env;
  if (!accessKeyId || !secretAccessKey) {
    throw new PgkeepError("authentication", "there are no AWS keys in the environment", {
      remedy: "run this as a Lambda function, which gets those of its role",
    });
  }
  return {
    accessKeyId,
    secretAccessKey,
    ...(AWS_SESSION_TOKEN ? { sessionToken: AWS_SESSION_TOKEN } : {}),
  };
}
