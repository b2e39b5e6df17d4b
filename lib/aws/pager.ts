import { CloudWatchClient, DescribeAlarmsCommand } from "@aws-sdk/client-cloudwatch";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import type { Look } from "../alarms/page/look.ts";
import { PgkeepError } from "../errors.ts";
import { newestValue } from "./alarm-event.ts";

/** What the function that tells people of alarms asks of AWS. */
export interface PagerCalls {
  /** @throws when the function fails, is busy, or takes longer than this */
  look(request: unknown, milliseconds: number): Promise<Look>;
  /** Newest value of a metric alarm; undefined when CloudWatch has none. */
  valueOfAlarm(alarmName: string): Promise<number | undefined>;
}

export interface PagerOptions {
  region: string;
  /** ARN of the function inside the VPC. */
  lookFunction: string;
  endpoint?: string;
  credentials?: { accessKeyId: string; secretAccessKey: string };
  configure?: (client: LambdaClient | CloudWatchClient) => void;
}

/** Somebody waits: what cannot be had at once is done without. */
const describeMilliseconds = 3_000;

export function pagerCalls({ lookFunction, configure, ...options }: PagerOptions): PagerCalls {
  const lambda = new LambdaClient({ ...options, maxAttempts: 1 });
  const cloudWatch = new CloudWatchClient({ ...options, maxAttempts: 2 });
  configure?.(lambda);
  configure?.(cloudWatch);
  return {
    async look(request, milliseconds) {
      const { Payload, FunctionError } = await lambda.send(
        new InvokeCommand({
          FunctionName: lookFunction,
          InvocationType: "RequestResponse",
          Payload: Buffer.from(JSON.stringify(request)),
        }),
        { abortSignal: AbortSignal.timeout(milliseconds) },
      );
      const answer = JSON.parse(Payload === undefined ? "null" : Buffer.from(Payload).toString("utf8")) as
        | Look
        | { errorMessage?: string }
        | null;
      if (FunctionError === undefined && answer !== null && "findings" in answer) return answer;
      const why = answer !== null && "errorMessage" in answer ? answer.errorMessage : undefined;
      throw new PgkeepError(
        "internal",
        `the look at the database failed: ${why ?? FunctionError ?? "no answer"}`,
      );
    },
    async valueOfAlarm(alarmName) {
      const { MetricAlarms } = await cloudWatch.send(
        new DescribeAlarmsCommand({ AlarmNames: [alarmName], AlarmTypes: ["MetricAlarm"] }),
        { abortSignal: AbortSignal.timeout(describeMilliseconds) },
      );
      return newestValue(MetricAlarms?.[0]?.StateReasonData);
    },
  };
}
