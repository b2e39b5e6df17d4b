import type { Context } from "aws-lambda";
import { beforeAll, describe, expect, it } from "vitest";
import { type PagerPorts, pageHandler } from "../../lambdas/page.ts";
import type { Look } from "../../lib/alarms/page/look.ts";
import type { Notification } from "../../lib/ports/notifications.ts";
import { lookWith, rootFinding, runbook, shopAlarms, shopConfig } from "../alarms/page/pages.ts";

/** As "Invoke a Lambda function from an alarm" (Amazon CloudWatch User Guide) shows it for a metric alarm. */
const metricEvent = (name: string, value: "ALARM" | "OK", points: (number | undefined)[] = [12, 11, 3]) => ({
  source: "aws.cloudwatch",
  alarmArn: `arn:aws:cloudwatch:eu-west-1:444455556666:alarm:${name}`,
  accountId: "444455556666",
  time: "2026-11-21T18:03:15.490+0000",
  region: "eu-west-1",
  alarmData: {
    alarmName: name,
    state: {
      value,
      reason: "Threshold Crossed: 3 out of the last 3 datapoints were greater than the threshold",
      reasonData: JSON.stringify({
        version: "1.0",
        queryDate: "2026-11-21T18:03:15.490+0000",
        statistic: "Minimum",
        period: 60,
        threshold: 10,
        evaluatedDatapoints: points.map((point, index) => ({
          timestamp: `2026-11-21T18:0${2 - index}:00.000+0000`,
          ...(point === undefined ? {} : { sampleCount: 1, value: point }),
        })),
      }),
      timestamp: "2026-11-21T18:03:15.490+0000",
    },
    previousState: { value: "OK", timestamp: "2026-11-20T12:31:29.595+0000" },
    configuration: { metrics: [] },
  },
});

/** The same for a composite alarm. */
const compositeEvent = (name: string, value: "ALARM" | "OK") => ({
  source: "aws.cloudwatch",
  alarmArn: `arn:aws:cloudwatch:eu-west-1:444455556666:alarm:${name}`,
  accountId: "444455556666",
  time: "2026-11-21T18:08:15.490+0000",
  region: "eu-west-1",
  alarmData: {
    alarmName: name,
    state: {
      value,
      reason: "arn:aws:cloudwatch:…:alarm:pgkeep-shop-cpu-high transitioned to ALARM",
      reasonData: JSON.stringify({ triggeringAlarms: [{ arn: "arn", state: { value, timestamp: "x" } }] }),
      timestamp: "2026-11-21T18:08:15.490+0000",
    },
    previousState: {
      value: "OK",
      actionsSuppressedBy: "WaitPeriod",
      timestamp: "2026-11-21T18:03:15.490+0000",
    },
    configuration: { alarmRule: "ALARM(x)", actionsSuppressor: "y" },
  },
});

const context = {} as Context;
beforeAll(() => {
  process.env.POWERTOOLS_LOG_LEVEL = "SILENT";
});

function pager(given: Partial<PagerPorts> = {}) {
  const sent: Notification[] = [];
  const asked: { request: unknown; values: string[] } = { request: undefined, values: [] };
  const ports: PagerPorts = {
    look: async (request): Promise<Look> => {
      asked.request = request;
      return lookWith(rootFinding);
    },
    stateOf: async (name) => {
      asked.values.push(name);
      return { inAlarm: true, since: new Date("2026-11-21T18:03:00Z"), value: 97 };
    },
    notifications: {
      send: async (notification) => {
        sent.push(notification);
      },
    },
    ...given,
  };
  const handler = pageHandler({ config: shopConfig, alarms: shopAlarms, runbook }, () => ports);
  return { sent, asked, tell: (event: unknown) => handler(event, context) };
}

describe("the function that alarms invoke", () => {
  it("tells what the look found, since when, and the newest value", async () => {
    const { sent, asked, tell } = pager();
    await tell(metricEvent("pgkeep-shop-blocked-sessions", "ALARM"));
    expect(asked).toEqual({
      request: { entry: "blocked-sessions", subject: undefined, look: ["blocked-sessions"] },
      values: [],
    });
    expect(sent).toEqual([
      {
        severity: "page",
        subject: "PAGE shop: Many sessions wait for a lock",
        body: expect.stringContaining("12, alarm at 10 or more\nsince 2026-11-21 18:03 UTC"),
        page: expect.objectContaining({
          key: "pgkeep/shop/blocked-sessions",
          cause: { text: rootFinding.text, from: "look" },
        }),
      },
    ]);
  });

  it("tells of a composite alarm by its metric alarm's name, and asks for its value", async () => {
    const { sent, asked, tell } = pager();
    await tell(compositeEvent("pgkeep-shop-cpu-high-unexplained", "ALARM"));
    expect(asked.values).toEqual(["pgkeep-shop-cpu-high"]);
    expect(sent[0]?.page).toMatchObject({
      key: "pgkeep/shop/cpu-high",
      // Of the metric alarm: the composite one has waited for a cause.
      since: "2026-11-21T18:03:00.000Z",
      measured: { value: 97 },
    });
  });

  it("takes the moment of the event when the metric alarm has changed again", async () => {
    const { sent, tell } = pager();
    await tell(compositeEvent("pgkeep-shop-cpu-high-unexplained", "OK"));
    expect(sent[0]?.page).toMatchObject({ state: "ok", since: "2026-11-21T18:08:15.490Z" });
  });

  it("gives both ends the same key, and looks at nothing when it is over", async () => {
    const { sent, asked, tell } = pager();
    await tell(metricEvent("pgkeep-shop-blocked-sessions", "OK", [2]));
    expect(asked.request).toBeUndefined();
    expect(sent[0]?.page).toMatchObject({ key: "pgkeep/shop/blocked-sessions", state: "ok" });
  });

  it("sends tickets as tickets", async () => {
    const { sent, tell } = pager();
    await tell(metricEvent("pgkeep-shop-deadlocks", "ALARM"));
    expect(sent[0]).toMatchObject({ severity: "ticket", subject: expect.stringMatching(/^TICKET /) });
  });

  it("tells without a look when nobody could look, and without a value when there is none", async () => {
    const { sent, tell } = pager({
      look: async () => {
        throw new Error("Rate Exceeded.");
      },
      stateOf: async () => {
        throw new Error("denied");
      },
    });
    await tell(compositeEvent("pgkeep-shop-cpu-high-unexplained", "ALARM"));
    expect(sent[0]?.page).toMatchObject({
      measured: { value: null },
      cause: { from: "catalogue" },
      unseen: ["nobody could look at the database: Rate Exceeded."],
    });
  });

  it("throws when it cannot tell, so that the event itself goes to the topic", async () => {
    const silent = pager({
      notifications: {
        send: async () => {
          throw new Error("no topic");
        },
      },
    });
    await expect(silent.tell(metricEvent("pgkeep-shop-deadlocks", "ALARM"))).rejects.toThrow("no topic");
    const { tell, sent } = pager();
    await expect(tell(metricEvent("pgkeep-shop-nobody-knows", "ALARM"))).rejects.toMatchObject({
      code: "not-found",
    });
    for (const event of [null, {}, "x", { alarmData: { alarmName: "x", state: { value: "ALARM" } } }]) {
      await expect(tell(event)).rejects.toMatchObject({ code: "usage" });
    }
    expect(sent).toEqual([]);
  });
});
