import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Template } from "aws-cdk-lib/assertions";
import { expect, it, onTestFinished } from "vitest";
import { ownApp } from "./own-app.ts";

it("a team puts one database into an app of its own, from the constructs alone", () => {
  const directory = mkdtempSync(join(tmpdir(), "pgkeep-example-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const { stacks } = ownApp(directory).synth();
  expect(stacks.map(({ stackName }) => stackName)).toEqual(["orders"]);
  const template = Template.fromJSON(stacks[0]?.template as Record<string, unknown>);
  template.hasResource("AWS::RDS::DBInstance", {
    Properties: { DBInstanceIdentifier: "pgkeep-orders", StorageEncrypted: true, PubliclyAccessible: false },
    DeletionPolicy: "Snapshot",
    UpdateReplacePolicy: "Snapshot",
  });
  template.resourceCountIs("AWS::Lambda::Function", 0);
  const policies = Object.values(template.findResources("AWS::IAM::Policy")) as unknown as {
    Properties: { PolicyDocument: { Statement: { Action: string; Resource: unknown }[] } };
  }[];
  const granted = policies
    .flatMap(({ Properties }) => Properties.PolicyDocument.Statement)
    .filter(({ Action }) => Action === "rds-db:connect");
  expect(granted).toHaveLength(2);
  expect(JSON.stringify(granted[0]?.Resource)).toMatch(/DBProxyArn.*\/orders_app"/);
  // The primary and two replicas.
  expect(granted[1]?.Resource).toHaveLength(3);
});
