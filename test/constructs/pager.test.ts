import { describe, expect, it } from "vitest";
import { Deployed } from "../helpers/deployed.ts";
import { identitiesOf } from "../helpers/permissions.ts";
import { type Synthesized, useSynthesizer } from "../helpers/synth.ts";

const synthesizer = useSynthesizer();
const stack = "pgkeep-shop-observability";

type Values = Record<string, unknown>;

/** Properties of each resource of a type in the stack of alarms, without references. */
function propertiesOf(synthesized: Synthesized, type: string): Values[] {
  const deployed = new Deployed(synthesized);
  return synthesized.resources
    .filter((resource) => resource.stack === stack && resource.Type === type)
    .map(({ Properties }) => deployed.value(stack, Properties) as Values);
}

function alarmsOf(synthesized: Synthesized) {
  return ["AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"]
    .flatMap((type) => propertiesOf(synthesized, type))
    .map(({ AlarmName, AlarmActions, OKActions }) => ({
      name: AlarmName as string,
      actions: [...((AlarmActions ?? []) as string[]), ...((OKActions ?? []) as string[])],
    }));
}

const one = (found: Values[], name: string) => found.find(({ FunctionName }) => FunctionName === name) ?? {};

describe.each(["instance", "aurora"] as const)("the pager of %s", (name) => {
  const synthesized = () => synthesizer.named(name);
  const functions = () => propertiesOf(synthesized(), "AWS::Lambda::Function");

  it("is what every alarm of the database invokes, and its own failure goes to the topic", () => {
    const acting = alarmsOf(synthesized()).filter(({ actions }) => actions.length > 0);
    expect(acting.length).toBeGreaterThan(30);
    for (const { name: alarm, actions } of acting) {
      const expected =
        alarm === "pgkeep-shop-pager-failed"
          ? /^arn:aws:sns:.*:pgkeep-shop-page$/
          : /^arn:aws:lambda:.*:function:pgkeep-shop-page$/;
      expect(actions, alarm).toEqual([expect.stringMatching(expected), expect.stringMatching(expected)]);
    }
    expect(acting.map(({ name: alarm }) => alarm)).toContain("pgkeep-shop-pager-failed");
  });

  it("may be invoked by alarms of this account and database alone", () => {
    expect(propertiesOf(synthesized(), "AWS::Lambda::Permission")).toEqual([
      {
        Action: "lambda:InvokeFunction",
        FunctionName: expect.stringMatching(/function:pgkeep-shop-page$/),
        Principal: "lambda.alarms.cloudwatch.amazonaws.com",
        SourceAccount: expect.stringMatching(/^\d{12}$/),
        SourceArn: expect.stringMatching(/^arn:aws:cloudwatch:[a-z0-9-]+:\d{12}:alarm:pgkeep-shop-\*$/),
      },
    ]);
  });

  it("hands an event that it cannot tell on to the topic, after one more try", () => {
    expect(propertiesOf(synthesized(), "AWS::Lambda::EventInvokeConfig")).toMatchObject([
      {
        MaximumRetryAttempts: 1,
        MaximumEventAgeInSeconds: 600,
        DestinationConfig: { OnFailure: { Destination: expect.stringMatching(/:pgkeep-shop-page$/) } },
      },
    ]);
  });

  it("stands outside the VPC; what looks at the database stands in it, and only so many at once", () => {
    const page = one(functions(), "pgkeep-shop-page");
    const look = one(functions(), "pgkeep-shop-look");
    expect(page.VpcConfig).toBeUndefined();
    expect(look.VpcConfig).toMatchObject({ SubnetIds: expect.any(Array) });
    expect(look.ReservedConcurrentExecutions).toBe(2);
    // Who waits gives up after who works has, and has time left to tell.
    expect(look.Timeout).toBeLessThan(15);
    expect(page.Timeout).toBeGreaterThan(30);
  });

  it("may do what it has to do, and look as pgkeep_monitoring", () => {
    const roles = identitiesOf(synthesized()).filter((identity) => identity.stack === stack);
    const allowed = Object.fromEntries(
      roles.map(({ name: role, statements }) => [
        role,
        statements
          .filter(({ Effect, Sid }) => Effect === "Allow" && !/Interfaces$|^WriteOwnLogs$/.test(Sid ?? ""))
          .flatMap(({ Action, Resource }) =>
            Action.flatMap((action) => Resource.map((on) => `${action} ${on}`)),
          ),
      ]),
    );
    expect(Object.keys(allowed).toSorted()).toEqual(["pgkeep-shop-look", "pgkeep-shop-page"]);
    expect(allowed["pgkeep-shop-page"]).toEqual([
      expect.stringMatching(/^sns:Publish arn:.*:pgkeep-shop-page$/),
      expect.stringMatching(/^sns:Publish arn:.*:pgkeep-shop-ticket$/),
      expect.stringMatching(/^lambda:InvokeFunction arn:.*:function:pgkeep-shop-look$/),
      expect.stringMatching(/^cloudwatch:DescribeAlarms arn:.*:alarm:pgkeep-shop-\*$/),
    ]);
    const logins = allowed["pgkeep-shop-look"] ?? [];
    expect(logins.length).toBeGreaterThan(0);
    for (const login of logins) {
      expect(login).toMatch(/^rds-db:connect arn:aws:rds-db:.*:dbuser:[^/*]+\/pgkeep_monitoring$/);
    }
  });
});

describe("without notifications.enriched", () => {
  const off = () =>
    (made ??= synthesizer.text("{ database: { name: shop }, notifications: { enriched: false } }"));
  let made: Synthesized | undefined;

  it("alarms go straight to the topics, and there is no function", () => {
    expect(propertiesOf(off(), "AWS::Lambda::Function")).toEqual([]);
    for (const { name, actions } of alarmsOf(off())) {
      for (const action of actions)
        expect(action, name).toMatch(/^arn:aws:sns:.*:pgkeep-shop-(?:page|ticket)$/);
    }
  });

  it("nothing but the stack of alarms is different", () => {
    const on = synthesizer.named("instance").templates;
    const changed = Object.keys(on).filter(
      (name) => JSON.stringify(on[name]) !== JSON.stringify(off().templates[name]),
    );
    expect(changed).toEqual([stack]);
  });
});
