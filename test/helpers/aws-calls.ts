import type { AnyClient } from "../../lib/aws/clients.ts";

/** One call to AWS as a client made it, throttled attempts not counted. */
export interface RecordedCall {
  /** As IAM names it: `rds:DeleteDBSnapshot`. */
  action: string;
  region: string;
  input: Record<string, unknown>;
  /** Somebody else's call, before: it is only known for the tags that it has put on things. */
  arranged?: boolean;
}

/** IAM's prefix of each client's actions. */
const prefixes: Record<string, string> = {
  RDSClient: "rds",
  SSMClient: "ssm",
  Route53Client: "route53",
  SNSClient: "sns",
  LambdaClient: "lambda",
  SFNClient: "states",
  SecretsManagerClient: "secretsmanager",
  CloudWatchClient: "cloudwatch",
};

interface Recordable {
  middlewareStack: {
    add(
      middleware: (
        next: (args: { input: object }) => Promise<unknown>,
        context: { commandName?: string; clientName?: string },
      ) => (args: { input: object }) => Promise<unknown>,
      options: { step: "initialize"; name: string },
    ): void;
  };
  config: { region: string | (() => Promise<string>) };
}

/**
 * Records what clients call: give `record` as `configure` to `awsClients`, or call it with any client.
 * `calls` grows as the calls are made.
 */
export function recordCalls(): { calls: RecordedCall[]; record: (client: AnyClient) => void } {
  const calls: RecordedCall[] = [];
  return {
    calls,
    record(given) {
      const client = given as unknown as Recordable;
      client.middlewareStack.add(
        (next, { commandName = "", clientName = "" }) =>
          async (args) => {
            const { region } = client.config;
            calls.push({
              action: `${prefixes[clientName] ?? clientName}:${commandName.replace(/Command$/, "")}`,
              region: typeof region === "string" ? region : await region(),
              input: args.input as Record<string, unknown>,
            });
            return next(args);
          },
        { step: "initialize", name: "recordCalls" },
      );
    },
  };
}
