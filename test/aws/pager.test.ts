import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { CloudWatchClient, PutMetricAlarmCommand, SetAlarmStateCommand } from "@aws-sdk/client-cloudwatch";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { newestValue, readAlarmEvent } from "../../lib/aws/alarm-event.ts";
import { type PagerCalls, pagerCalls } from "../../lib/aws/pager.ts";
import { motoCredentials, noMoto, useMoto } from "../helpers/moto.ts";

const lookFunction = "arn:aws:lambda:eu-west-1:444455556666:function:pgkeep-shop-look";

describe("what the pager asks of AWS", () => {
  let answer: (request: IncomingMessage, body: string, response: ServerResponse) => void = () => {};
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => {
      body += chunk;
    });
    request.on("end", () => answer(request, body, response));
  });
  let calls: PagerCalls;
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    calls = pagerCalls({
      region: "eu-west-1",
      lookFunction,
      endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      credentials: { accessKeyId: "testing", secretAccessKey: "testing" },
    });
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  it("has the function inside the VPC look, and gives what it found", async () => {
    const look = { lookedAt: "2026-11-21T18:03:05.000Z", findings: [], unseen: ["x"] };
    const asked: { url: string; type: unknown; body: unknown }[] = [];
    answer = (request, body, response) => {
      asked.push({
        url: decodeURIComponent(request.url ?? ""),
        type: request.headers["x-amz-invocation-type"],
        body: JSON.parse(body),
      });
      response.end(JSON.stringify(look));
    };
    expect(await calls.look({ entry: "cpu-high", look: ["statements"] }, 1_000)).toEqual(look);
    expect(asked).toEqual([
      {
        url: `/2015-03-31/functions/${lookFunction}/invocations`,
        type: "RequestResponse",
        body: { entry: "cpu-high", look: ["statements"] },
      },
    ]);
  });

  it("says what went wrong in the function", async () => {
    answer = (_, __, response) => {
      response.setHeader("X-Amz-Function-Error", "Unhandled");
      response.end(
        JSON.stringify({ errorType: "Error", errorMessage: "Task timed out after 14.00 seconds" }),
      );
    };
    await expect(calls.look({}, 1_000)).rejects.toThrow("Task timed out after 14.00 seconds");
  });

  it("does not ask again when the function is busy, and waits no longer than it is told", async () => {
    let asked = 0;
    answer = (_, __, response) => {
      asked += 1;
      response.statusCode = 429;
      response.setHeader("x-amzn-errortype", "TooManyRequestsException");
      response.end(JSON.stringify({ Reason: "ReservedFunctionConcurrentInvocationLimitExceeded" }));
    };
    await expect(calls.look({}, 1_000)).rejects.toThrow();
    expect(asked).toBe(1);
    answer = () => {};
    const began = performance.now();
    await expect(calls.look({}, 200)).rejects.toThrow();
    expect(performance.now() - began).toBeLessThan(15_000);
  });
});

describe.skipIf(noMoto !== undefined)(
  `the state of an alarm${noMoto === undefined ? "" : ` (${noMoto})`}`,
  () => {
    const moto = useMoto();

    it("has its newest value, and since when it is so", async () => {
      const options = { region: "eu-west-1", endpoint: moto.endpoint, credentials: motoCredentials };
      const cloudWatch = new CloudWatchClient(options);
      const AlarmName = "pgkeep-shop-cpu-high";
      await cloudWatch.send(
        new PutMetricAlarmCommand({
          AlarmName,
          MetricName: "CPUUtilization",
          Namespace: "AWS/RDS",
          Statistic: "Average",
          Period: 60,
          EvaluationPeriods: 5,
          Threshold: 90,
          ComparisonOperator: "GreaterThanOrEqualToThreshold",
        }),
      );
      await cloudWatch.send(
        new SetAlarmStateCommand({
          AlarmName,
          StateValue: "ALARM",
          StateReason: "Threshold Crossed",
          StateReasonData: JSON.stringify({
            evaluatedDatapoints: [{ timestamp: "2026-11-21T18:02:00.000+0000", sampleCount: 1, value: 97.5 }],
          }),
        }),
      );
      cloudWatch.destroy();
      const calls = pagerCalls({ ...options, lookFunction });
      expect(await calls.stateOf(AlarmName)).toMatchObject({ inAlarm: true, value: 97.5 });
      expect(await calls.stateOf("pgkeep-shop-absent")).toEqual({});
    });
  },
);

describe("an event of CloudWatch", () => {
  it("has the newest value, whatever the order of the datapoints", () => {
    const points = (...values: [string, number | undefined][]) =>
      JSON.stringify({
        evaluatedDatapoints: values.map(([at, value]) => ({
          timestamp: `2026-11-21T${at}:00.000+0000`,
          value,
        })),
      });
    expect(newestValue(points(["18:01", 1], ["18:03", 3], ["18:02", 2]))).toBe(3);
    expect(newestValue(points(["18:03", undefined], ["18:02", 2]))).toBe(2);
    for (const none of [points(), "", "{", "null", undefined, 5]) expect(newestValue(none)).toBeUndefined();
  });

  it("gives the moment in UTC whatever the offset is", () => {
    const state = { value: "ALARM", reason: "x", timestamp: "2026-11-21T20:03:15.490+0200" };
    expect(readAlarmEvent({ alarmData: { alarmName: "a", state } })).toEqual({
      alarmName: "a",
      state: "ALARM",
      since: new Date("2026-11-21T18:03:15.490Z"),
      reason: "x",
    });
  });
});
