import { areas, type Needs, type ReviewCheck } from "../checks/review-check.ts";
import { reviewChecks } from "../checks/review-checks.ts";
import { code, generateCommand, table } from "../config/reference.ts";

/** The text of docs/checks.md: every question of the review, from the list itself. */
export function renderCheckReference(checks: readonly ReviewCheck[] = reviewChecks): string {
  return [
    `<!-- Generated from lib/checks. Do not edit; run: ${generateCommand} -->`,
    "",
    "# Checks of the review",
    "",
    "What `pgkeep review` asks. The name stands in findings, in `--only` and at the beginning of the keys in a file of",
    "suppressions. A check that cannot see what it needs is not assessable, and says with which statement it would be.",
    ...(Object.keys(areas) as (keyof typeof areas)[]).flatMap((area) => {
      const rows = checks
        .filter((check) => check.area === area)
        .map(({ name, title, needs }) => [code(name), title, needsText(needs)]);
      return rows.length === 0
        ? []
        : ["", `## ${areas[area]}`, "", ...table(["check", "question", "needs"], rows)];
    }),
    "",
  ].join("\n");
}

function needsText({ extensions = [], memberOf = [], primary }: Needs = {}): string {
  return [
    ...extensions.map((name) => `extension ${code(name)}`),
    ...memberOf.map((name) => `the rights of ${code(name)}`),
    ...(primary === true ? ["the primary"] : []),
  ].join(", ");
}
