import { expect, it, vi } from "vitest";
import { acknowledgements } from "../../lib/stacks/acknowledged.ts";
import {
  type ConfigurationName,
  configurationNames,
  configurations,
  useSynthesizer,
} from "../helpers/synth.ts";

vi.mock("../../lib/stacks/acknowledged.ts", async (original) => ({
  ...(await original<typeof import("../../lib/stacks/acknowledged.ts")>()),
  acknowledgeFindings: () => {},
}));

const synthesizer = useSynthesizer();

/** Together they have everything that is acknowledged. */
const enough: readonly string[] = ["two databases", "multi-az-cluster", "files and cache"];

/** What cdk-nag finds when nothing is acknowledged, and every construct that there is. */
function foundIn(name: ConfigurationName) {
  const { app, violations } = synthesizer.text(configurations[name], { nag: true });
  return {
    findings: violations.flatMap(({ rule, places }) => places.map((place) => ({ rule, place }))),
    paths: app.node.findAll().map(({ node }) => node.path),
  };
}

it("acknowledges nothing that cdk-nag does not find", () => {
  const found = configurationNames.filter((name) => enough.includes(name)).map(foundIn);
  const unused = acknowledgements.filter(
    ({ at, rule }) =>
      !found.some(({ findings }) =>
        findings.some((finding) => finding.rule.endsWith(`AwsSolutions-${rule}`) && at.test(finding.place)),
      ),
  );
  expect(unused).toEqual([]);
  const needless = found.flatMap(({ findings, paths }) =>
    acknowledgements.flatMap(({ at, rule }) =>
      paths
        .filter((path) => at.test(path))
        .filter(
          (path) =>
            !findings.some(
              (finding) => finding.place === path && finding.rule.endsWith(`AwsSolutions-${rule}`),
            ),
        )
        .map((path) => `${path}: ${rule}`),
    ),
  );
  expect([...new Set(needless)]).toEqual([]);
});
