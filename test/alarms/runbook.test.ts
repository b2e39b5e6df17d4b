import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { catalogue } from "../../lib/alarms/catalogue.ts";

describe("docs/runbook.md", () => {
  const text = readFileSync(new URL("../../docs/runbook.md", import.meta.url), "utf8");
  const sections = [...text.matchAll(/^### (.+)$/gm)].map((match) => match[1]);

  it("has one section for each entry, and no other", () => {
    expect(sections.toSorted()).toEqual(catalogue.map(({ name }) => name).toSorted());
  });

  it("says in each section what it means, how to see it, stop it, fix it, prevent it, and when it lies", () => {
    const bodies = text.split(/^### /m).slice(1);
    for (const body of bodies) {
      const name = body.slice(0, body.indexOf("\n"));
      const labels = ["Means", "See it now", "Stop the bleeding", "Fix", "Prevent", "When it lies"];
      expect(
        labels.filter((label) => !body.includes(`**${label}.**`)),
        name,
      ).toEqual([]);
    }
  });
});
