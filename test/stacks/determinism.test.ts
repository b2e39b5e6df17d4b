import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { DatabaseConfig } from "../../lib/config/schema.ts";
import { type Synthesized, useSynthesizer } from "../helpers/synth.ts";

const synthesizer = useSynthesizer();

/** Templates and lists of assets as text, by file name: asset hashes are in both. */
function files({ directory }: Synthesized): Record<string, string> {
  const names = readdirSync(directory).filter((name) => /\.(template|assets)\.json$/.test(name));
  return Object.fromEntries(
    names.toSorted().map((name) => [name, readFileSync(join(directory, name), "utf8")]),
  );
}

/** Names of the files that are not the same in both. */
function changed(before: Synthesized, after: Synthesized): string[] {
  const [old, now] = [files(before), files(after)];
  return [...new Set([...Object.keys(old), ...Object.keys(now)])]
    .filter((name) => old[name] !== now[name])
    .toSorted();
}

const shop = (sections = "") => `
  databases: { shop: { ${sections} }, reports: { database: { topology: aurora } } }`;

/** For each setting under `alarms`, one that is not its default. A new setting does not compile until it is here. */
const otherLimits: Record<Exclude<keyof DatabaseConfig["alarms"], "enabled">, string> = {
  transactionIdsPage: "900000000",
  transactionIdsTicket: "400000000",
  cpuPercent: "80",
  freeStoragePercent: "15",
  temporaryFilesPercent: "7.5",
  oldTransactionSeconds: "7200",
  replicaLagSeconds: "90",
  failedLogins: "50",
};

describe("synthesis", () => {
  it("makes the same templates and the same asset hashes each time", { timeout: 180_000 }, () => {
    const once = synthesizer.text(shop(), { bundle: true });
    expect(Object.keys(files(once)).length).toBeGreaterThan(3);
    expect(changed(once, synthesizer.text(shop(), { bundle: true }))).toEqual([]);
  });

  it("changes nothing when a default is written out", () => {
    const explicit = "replicas: { count: 2 }, alarms: { cpuPercent: 90 }, backups: { keepDaily: 7 }";
    expect(changed(synthesizer.text(shop()), synthesizer.text(shop(explicit)))).toEqual([]);
  });

  it.each([
    ["any limit", otherLimits],
    ["whether there are any", { enabled: "false" }],
  ])("changes only the observability of one database for alarms: %s", (_, limits) => {
    const settings = Object.entries(limits).map(([setting, value]) => `${setting}: ${value}`);
    const after = synthesizer.text(shop(`alarms: { ${settings.join(", ")} }`));
    expect(changed(synthesizer.text(shop()), after)).toEqual([
      "pgkeep-shop-observability.assets.json",
      "pgkeep-shop-observability.template.json",
    ]);
  });

  it("touches no other database's stacks for a change of one", () => {
    const names = changed(
      synthesizer.text(shop()),
      synthesizer.text(shop("database: { storageGigabytes: 200 }")),
    );
    expect(names).not.toEqual([]);
    expect(names.filter((name) => !name.startsWith("pgkeep-shop-"))).toEqual([]);
  });

  it("leaves the database alone when only a schedule changes", () => {
    const after = synthesizer.text(shop('schedules: { vacuum: "30 1 * * *" }'));
    const names = changed(synthesizer.text(shop()), after);
    expect(names).not.toEqual([]);
    expect(names.filter((name) => /database|network|access/.test(name))).toEqual([]);
  });

  it("adds files and cache beside a database without touching it, its logins or its jobs", () => {
    const on = "files: { enabled: true, noncurrentDays: 7 }, cache: { enabled: true, replicas: 2 }";
    const names = changed(synthesizer.text(shop()), synthesizer.text(shop(on))).filter((name) =>
      name.endsWith(".template.json"),
    );
    expect(names.toSorted()).toEqual([
      "pgkeep-network.template.json",
      "pgkeep-shop-cache.template.json",
      "pgkeep-shop-files.template.json",
      "pgkeep-shop-observability.template.json",
    ]);
  });
});
