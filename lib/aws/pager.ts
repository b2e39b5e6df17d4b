import { CloudWatchClient, DescribeAlarmsCommand } from "@aws-sdk/client-cloudwatch";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import type { Look } from "../alarms/page/look.ts";
import { PgkeepError } from "../errors.ts";
import { newestValue } from "./alarm-event.ts";

export interface MetricAlarmState {
  inAlarm?: boolean;
  /** Since when it is or is not. */
  since?: Date;
  /** Newest value that this was found from. */
  value?: number;
}

/** What the function that tells people of alarms asks of AWS. */
export interface PagerCalls {
  /** @throws when the function fails, is busy, or takes longer than this */
  look(request: unknown, milliseconds: number): Promise<Look>;
  /** What CloudWatch knows of a metric alarm; empty when there is none of that name. */
  stateOf(alarmName: string): Promise<MetricAlarmState>;
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
    async stateOf(alarmName) {
      const { MetricAlarms } = await cloudWatch.send(
        new DescribeAlarmsCommand({ AlarmNames: [alarmName], AlarmTypes: ["MetricAlarm"] }),
        { abortSignal: AbortSignal.timeout(describeMilliseconds) },
      );
      const alarm = MetricAlarms?.[0];
      if (alarm === undefined) return {};
      const { StateValue, StateTransitionedTimestamp: since, StateReasonData } = alarm;
      const value = newestValue(StateReasonData);
      return {
        inAlarm: StateValue === "ALARM",
        ...(since === undefined ? {} : { since }),
        ...(value === undefined ? {} : { value }),
      };
    },
  };
}
