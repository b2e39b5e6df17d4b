import { Match } from "aws-cdk-lib/assertions";
import { describe, expect, it } from "vitest";
import { alarmsFor } from "../../lib/alarms/catalogue.ts";
import { configOf, contextOf, topologies } from "../alarms/contexts.ts";
import { useSynthesizer } from "../helpers/synth.ts";
import { observabilityOf, ofType, type Resource } from "./observability.ts";

const synthesizer = useSynthesizer();

const metricAlarm = "AWS::CloudWatch::Alarm";
const compositeAlarm = "AWS::CloudWatch::CompositeAlarm";

interface Dimension {
  Name: string;
  Value: string;
}

const nameOf = ({ properties }: Resource) => String(properties.AlarmName);

/** Every list of dimensions of an alarm: its own, or those of the metrics in its expression. */
function dimensionsOf({ properties }: Resource): Dimension[] {
  const queries = (properties.Metrics ?? []) as { MetricStat?: { Metric: { Dimensions?: Dimension[] } } }[];
  return [
    ...((properties.Dimensions ?? []) as Dimension[]),
    ...queries.flatMap((query) => query.MetricStat?.Metric.Dimensions ?? []),
  ];
}

describe.each(topologies)("alarms on CloudWatch: %s", (topology) => {
  const config = configOf(topology, { alarms: { cpuPercent: 85 } });
  const { template, resources } = observabilityOf(config);
  const alarms = ofType(resources, metricAlarm);
  const composites = ofType(resources, compositeAlarm);
  const expected = alarmsFor(contextOf(config));
  const byName = new Map(resources.map((resource) => [resource.id, resource]));

  it("are the catalogue's, no more and no less", () => {
    expect(alarms.map(nameOf).toSorted()).toEqual(
      expected.map(({ name }) => `pgkeep-shop-${name}`).toSorted(),
    );
    for (const alarm of expected) {
      const made = alarms.find((one) => nameOf(one) === `pgkeep-shop-${alarm.name}`);
      expect(made?.properties, alarm.name).toMatchObject({
        Threshold: alarm.threshold,
        EvaluationPeriods: alarm.timing.evaluationPeriods,
        DatapointsToAlarm: alarm.timing.datapointsToAlarm,
        TreatMissingData: alarm.missingData,
      });
    }
  });

  it("name identifiers in lower case, and filter by no unit", () => {
    for (const alarm of alarms) {
      const dimensions = dimensionsOf(alarm);
      // What is counted in logs has no dimensions: its namespace is the database's own.
      const namespace = String(alarm.properties.Namespace ?? "");
      expect(dimensions.length > 0 || namespace === "pgkeep/shop", nameOf(alarm)).toBe(true);
      for (const { Name, Value } of dimensions) {
        if (/Identifier$|^ProxyName$|^Database$/.test(Name)) expect(Value).toBe(Value.toLowerCase());
      }
      expect(alarm.properties, nameOf(alarm)).not.toHaveProperty("Unit");
    }
  });

  it("say what happened, in which database, and where to read on", () => {
    for (const alarm of [...alarms]) {
      const entry = expected.find(({ name }) => nameOf(alarm) === `pgkeep-shop-${name}`)?.entry;
      const text = String(alarm.properties.AlarmDescription);
      expect(text).toMatch(/^shop: /);
      expect(text).toContain(`docs/runbook.md#${entry}`);
      expect(text.length).toBeLessThanOrEqual(1024);
    }
  });

  it("tell somebody once: by itself, or through a composite alarm that its root cause silences", () => {
    for (const alarm of expected) {
      const own = alarms.find((one) => nameOf(one) === `pgkeep-shop-${alarm.name}`);
      const composite = composites.find((one) => nameOf(one) === `pgkeep-shop-${alarm.name}-unexplained`);
      const teller = alarm.consequenceOf.length === 0 ? own : composite;
      const topic = alarm.severity === "page" ? /Page/ : /Ticket/;
      expect(JSON.stringify(teller?.properties.AlarmActions), alarm.name).toMatch(topic);
      expect(teller?.properties.AlarmActions, alarm.name).toHaveLength(1);
      if (alarm.consequenceOf.length === 0) {
        expect(composite, alarm.name).toBeUndefined();
      } else {
        expect(own?.properties.AlarmActions, alarm.name).toBeUndefined();
        expect(composite?.properties, alarm.name).toMatchObject({
          ActionsSuppressorWaitPeriod: 300,
          ActionsSuppressorExtensionPeriod: 900,
        });
        expect(silencersOf(composite as Resource), alarm.name).toEqual(
          alarm.consequenceOf.map((name) => `pgkeep-shop-${name}`).toSorted(),
        );
      }
    }
  });

  it("have names that CloudWatch takes", () => {
    const names = [...alarms, ...composites].map(nameOf);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name.length).toBeLessThanOrEqual(255);
  });

  /** Names of the metric alarms behind a composite's suppressor. */
  function silencersOf(composite: Resource): string[] {
    const suppressor = referenced(composite.properties.ActionsSuppressor);
    expect(suppressor).toHaveLength(1);
    return suppressor
      .flatMap((one) => (one.type === metricAlarm ? [one] : referenced(one.properties.AlarmRule)))
      .map(nameOf)
      .toSorted();
  }

  function referenced(value: unknown): Resource[] {
    const ids = [...JSON.stringify(value).matchAll(/"(?:Ref|Fn::GetAtt)":\[?"([^"]+)"/g)].map(
      (match) => match[1] ?? "",
    );
    return ids.flatMap((id) => byName.get(id) ?? []);
  }

  it("are enough to see the template once", () => {
    template.hasResourceProperties(metricAlarm, {
      AlarmName: "pgkeep-shop-cpu-high",
      Threshold: 85,
      ComparisonOperator: "GreaterThanOrEqualToThreshold",
      ...(topology === "multi-az-cluster"
        ? {}
        : { Namespace: "AWS/RDS", MetricName: "CPUUtilization", Statistic: "Average", Period: 60 }),
    });
  });
});

describe("alarms on the writer", () => {
  const queriesOf = (topology: (typeof topologies)[number], name: string) =>
    ofType(observabilityOf(configOf(topology)).resources, metricAlarm).find(
      (alarm) => nameOf(alarm) === `pgkeep-shop-${name}`,
    )?.properties;

  it.each([
    ["cpu-high", "MAX([m1,m2,m3])", "Average"],
    ["free-storage", "MIN([m1,m2,m3])", "Minimum"],
    ["read-latency", "MAX([m1,m2,m3])", "p90"],
  ])("take the worst instance of a Multi-AZ cluster, whose roles move: %s", (name, expression, statistic) => {
    const metrics = queriesOf("multi-az-cluster", name)?.Metrics as {
      Expression?: string;
      ReturnData?: boolean;
      MetricStat?: { Stat: string; Metric: { Dimensions: Dimension[] } };
    }[];
    expect(metrics.flatMap((one) => one.Expression ?? [])).toEqual([expression]);
    const single = metrics.flatMap((one) => one.MetricStat ?? []);
    expect(single.map(({ Stat }) => Stat)).toEqual([statistic, statistic, statistic]);
    expect(single.map(({ Metric: { Dimensions } }) => Dimensions)).toEqual(
      [1, 2, 3].map((number) => [{ Name: "DBInstanceIdentifier", Value: `pgkeep-shop-instance-${number}` }]),
    );
    // CloudWatch takes it for a percentile alone, not for an expression over some.
    expect(queriesOf("multi-az-cluster", name)).not.toHaveProperty("EvaluateLowSampleCountPercentile");
  });

  it("ask Aurora for the role, and an instance for itself", () => {
    expect(queriesOf("aurora", "cpu-high")?.Dimensions).toEqual([
      { Name: "DBClusterIdentifier", Value: "pgkeep-shop" },
      { Name: "Role", Value: "WRITER" },
    ]);
    expect(queriesOf("instance", "read-latency")).toMatchObject({
      Dimensions: [{ Name: "DBInstanceIdentifier", Value: "pgkeep-shop" }],
      EvaluateLowSampleCountPercentile: "evaluate",
    });
  });

  it("watch each server by its own identifier where AWS measures nothing else", () => {
    expect(queriesOf("aurora", "db-load-instance-2")?.Dimensions).toEqual([
      { Name: "DBInstanceIdentifier", Value: "pgkeep-shop-instance-2" },
    ]);
    expect(queriesOf("instance", "db-load-primary")?.Dimensions).toEqual([
      { Name: "DBInstanceIdentifier", Value: "pgkeep-shop" },
    ]);
  });
});

describe("what is counted in logs", () => {
  it.each([
    [
      "instance",
      ["instance/pgkeep-shop", "instance/pgkeep-shop-replica-1", "instance/pgkeep-shop-replica-2"],
    ],
    ["multi-az-cluster", ["cluster/pgkeep-shop"]],
    ["aurora", ["cluster/pgkeep-shop"]],
  ] as const)(
    "comes from the log of every server of %s into the metric that the alarm sums",
    (topology, groups) => {
      const { resources, template } = observabilityOf(configOf(topology));
      const filters = ofType(resources, "AWS::Logs::MetricFilter").map(({ properties }) => properties);
      expect(filters.map(({ LogGroupName }) => LogGroupName)).toEqual(
        groups.map((group) => `/aws/rds/${group}/postgresql`),
      );
      for (const filter of filters) {
        expect(filter.FilterPattern).toBe(
          '?"password authentication failed" ?"PAM authentication failed" ?"no pg_hba.conf entry for"',
        );
        expect(filter.MetricTransformations).toEqual([
          {
            MetricNamespace: "pgkeep/shop",
            MetricName: "FailedLogins",
            MetricValue: "1",
            DefaultValue: 0,
            Unit: "Count",
          },
        ]);
      }
      template.hasResourceProperties(metricAlarm, {
        AlarmName: "pgkeep-shop-failed-logins",
        Namespace: "pgkeep/shop",
        MetricName: "FailedLogins",
        Statistic: "Sum",
        Period: 300,
        Threshold: 20,
      });
    },
  );

  it("comes from groups that the database's stack makes, and only once that has been deployed", () => {
    for (const name of ["instance", "multi-az-cluster", "aurora"] as const) {
      const { resources, assembly } = synthesizer.named(name);
      const made = resources
        .filter(({ Type, stack }) => Type === "AWS::Logs::LogGroup" && stack.endsWith("-database"))
        .map(({ Properties }) => Properties?.LogGroupName);
      const read = resources
        .filter(({ Type }) => Type === "AWS::Logs::MetricFilter")
        .map(({ Properties }) => Properties?.LogGroupName);
      expect(read.length).toBeGreaterThan(0);
      expect(made).toEqual(expect.arrayContaining(read));
      const observability = assembly.stacks.find(({ stackName }) => stackName.endsWith("-observability"));
      expect(observability?.dependencies.map(({ id }) => id).join(" ")).toMatch(/-database/);
    }
  });
});

it("has names that CloudWatch takes with the most replicas that there can be", () => {
  const { resources } = observabilityOf(configOf("instance", { replicas: { count: 15 } }));
  const names = ofType(resources, compositeAlarm).map(nameOf);
  expect(new Set(names).size).toBe(names.length);
  for (const name of names) expect(name.length, name).toBeLessThanOrEqual(255);
});

describe("alarms on shares", () => {
  const { template } = observabilityOf(configOf("instance"));

  it("divide in CloudWatch, and say 0 while there is too little to divide", () => {
    template.hasResourceProperties(metricAlarm, {
      AlarmName: "pgkeep-shop-rollbacks",
      Metrics: Match.arrayWith([
        Match.objectLike({ Expression: "IF((m1+m2)>=500, 100*m1/(m1+m2), 0)", ReturnData: true }),
      ]),
    });
  });

  it("know the proxy's connections from the server's", () => {
    template.hasResourceProperties(metricAlarm, {
      AlarmName: "pgkeep-shop-proxy-connections-used",
      Metrics: Match.arrayWith([
        Match.objectLike({
          MetricStat: {
            Metric: {
              Namespace: "AWS/RDS",
              MetricName: "DatabaseConnections",
              Dimensions: [{ Name: "ProxyName", Value: "pgkeep-shop" }],
            },
            Period: 60,
            Stat: "Average",
          },
        }),
      ]),
    });
  });
});

describe("topics", () => {
  const { template, resources } = observabilityOf(configOf("instance"), {
    notifications: {
      page: ["on-call@example.com"],
      ticket: ["team@example.com", "lead@example.com"],
      enriched: true,
    },
  });

  it("are two, with the names that jobs know, encrypted with a key of their own", () => {
    const topics = ofType(resources, "AWS::SNS::Topic");
    expect(topics.map(({ properties }) => properties.TopicName)).toEqual([
      "pgkeep-shop-page",
      "pgkeep-shop-ticket",
    ]);
    for (const { properties } of topics) expect(JSON.stringify(properties.KmsMasterKeyId)).toContain("Key");
    template.hasResourceProperties("AWS::KMS::Key", { EnableKeyRotation: true });
  });

  it("take nothing without TLS, and from CloudWatch only of this account", () => {
    const policies = ofType(resources, "AWS::SNS::TopicPolicy");
    expect(policies).toHaveLength(2);
    for (const { properties } of policies) {
      const { Statement } = properties.PolicyDocument as { Statement: Record<string, unknown>[] };
      expect(Statement).toContainEqual(
        expect.objectContaining({ Effect: "Deny", Condition: { Bool: { "aws:SecureTransport": "false" } } }),
      );
      const allowed = Statement.filter(({ Effect }) => Effect === "Allow");
      expect(allowed).toHaveLength(1);
      expect(allowed[0]).toMatchObject({
        Action: "sns:Publish",
        Principal: { Service: "cloudwatch.amazonaws.com" },
        Condition: { StringEquals: { "aws:SourceAccount": { Ref: "AWS::AccountId" } } },
      });
    }
  });

  it("let CloudWatch and publishers of this account use the key, and nobody else", () => {
    const [key] = ofType(resources, "AWS::KMS::Key");
    expect(key).toBeDefined();
    const { Statement } = (key as Resource).properties.KeyPolicy as { Statement: Record<string, unknown>[] };
    for (const statement of Statement) {
      const isAccount = JSON.stringify(statement.Principal).includes(":root");
      expect(isAccount || statement.Condition !== undefined, JSON.stringify(statement)).toBe(true);
    }
  });

  it("have the subscriptions of the configuration", () => {
    const endpoints = ofType(resources, "AWS::SNS::Subscription").map(
      ({ properties }) => properties.Endpoint,
    );
    expect(endpoints).toEqual(["on-call@example.com", "team@example.com", "lead@example.com"]);
  });
});

describe("a changed limit", () => {
  it("changes nothing but its alarm and the line on the dashboard", () => {
    const [before, after] = [90, 80].map((cpuPercent) =>
      observabilityOf(configOf("instance", { alarms: { cpuPercent } })),
    );
    const changed = before?.resources.filter(
      ({ id, properties }) =>
        JSON.stringify(properties) !==
        JSON.stringify(after?.resources.find((one) => one.id === id)?.properties),
    );
    expect(changed?.map(({ type, properties }) => properties.AlarmName ?? type)).toEqual([
      "pgkeep-shop-cpu-high",
      "AWS::CloudWatch::Dashboard",
    ]);
  });

  it("is the only thing that changes: the same configuration gives the same template", () => {
    const [one, other] = [1, 2].map(() => observabilityOf(configOf("aurora")).template.toJSON());
    expect(one).toEqual(other);
  });
});

it("makes topics but no alarm when alarms are switched off: jobs still have something to say", () => {
  const { resources } = observabilityOf(configOf("instance", { alarms: { enabled: false } }));
  expect(ofType(resources, "AWS::SNS::Topic")).toHaveLength(2);
  expect(ofType(resources, metricAlarm)).toEqual([]);
  expect(ofType(resources, "AWS::CloudWatch::Dashboard")).toEqual([]);
});
