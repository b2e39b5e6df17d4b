import type { DatabaseConfig } from "../schema.ts";
import { databaseRule, error, type RuleFinding, warning } from "./rule.ts";

type EngineVersion = DatabaseConfig["database"]["engineVersion"];

/** Last day of RDS standard support (Amazon RDS for PostgreSQL release calendar), as written there. */
export const standardSupportEnds: Readonly<Record<EngineVersion, string>> = {
  14: "2027-02-28",
  15: "2028-02-29",
  16: "2029-02-28",
  17: "2030-02-28",
  18: "2031-02-28",
};

const warningMonths = 6;

/** Families that Aurora PostgreSQL has none of. */
const notOnAurora = /^[mc]\d/;
/** Multi-AZ DB clusters run on classes with local NVMe storage, whose family has a d after its number. */
const localStorage = /^[a-z]+\d+[a-z]*d/;

export const engineRules = [
  databaseRule({
    name: "engine-in-standard-support",
    demand: `\`database.engineVersion\` is in standard support, and for ${warningMonths} months to come (a warning)`,
    source:
      "Amazon RDS for PostgreSQL release calendar; Extended Support is billed, and pgkeep leaves it off, so AWS refuses to create such a database",
    check: ({ database }, now) => supportFinding(database.engineVersion, now),
  }),
  databaseRule({
    name: "class-fits-topology",
    demand:
      "`database.instanceClass` is one that the topology has: `serverless` on Aurora only, no m or c classes on Aurora, classes with local storage (such as m6gd.large) on a multi-az-cluster",
    source: "Amazon RDS and Aurora User Guides, Supported DB engines for DB instance classes",
    check: ({ database }) => {
      const wrong = classFault(database.topology, database.instanceClass);
      return wrong === undefined
        ? []
        : [
            error("database.instanceClass", `${database.instanceClass} is not allowed; ${wrong}`, [
              "database.topology",
            ]),
          ];
    },
  }),
  databaseRule({
    name: "storage-can-grow",
    demand:
      "`database.maxStorageGigabytes` is `storageGigabytes` (no autoscaling) or at least a tenth above it",
    source: "Amazon RDS User Guide, Managing capacity automatically with storage autoscaling",
    check: ({ database }) => {
      const { topology, storageGigabytes: size, maxStorageGigabytes: most } = database;
      const least = Math.ceil((size * 11) / 10);
      if (topology === "aurora" || most === size || most >= least) return [];
      return [
        error(
          "database.maxStorageGigabytes",
          most < size
            ? `${most} is below database.storageGigabytes, ${size}; at least ${size}`
            : `${most} is not allowed; ${size} for no autoscaling, or at least ${least}, a tenth above database.storageGigabytes`,
          ["database.storageGigabytes", "database.topology"],
        ),
      ];
    },
  }),
  databaseRule({
    name: "serverless-range",
    demand: "`database.serverless.maxCapacityUnits` is not below `minCapacityUnits`",
    source: "Amazon RDS API, ServerlessV2ScalingConfiguration",
    check: ({ database: { serverless } }) =>
      serverless.maxCapacityUnits < serverless.minCapacityUnits
        ? [
            error(
              "database.serverless.maxCapacityUnits",
              `${serverless.maxCapacityUnits} is below database.serverless.minCapacityUnits, ${serverless.minCapacityUnits}; at least that`,
              ["database.serverless.minCapacityUnits"],
            ),
          ]
        : [],
  }),
];

function supportFinding(version: EngineVersion, now: Date): Omit<RuleFinding, "database">[] {
  const lastDay = standardSupportEnds[version];
  const over = new Date(`${lastDay}T00:00:00Z`);
  over.setUTCDate(over.getUTCDate() + 1);
  const soon = new Date(over);
  soon.setUTCMonth(soon.getUTCMonth() - warningMonths);
  if (now < soon) return [];
  const supported = Object.entries(standardSupportEnds).flatMap(([major, end]) =>
    now < new Date(`${end}T00:00:00Z`) && major !== version ? [major] : [],
  );
  const next = supported.length === 0 ? "" : `; upgrade to ${supported[supported.length - 1]}`;
  // Never an error: somebody whose server is too old still has to look after it until it is upgraded.
  const message =
    now >= over
      ? `standard support of PostgreSQL ${version} ended on ${lastDay}, and AWS refuses to create it without Extended Support${next}`
      : `standard support of PostgreSQL ${version} ends on ${lastDay}${next} before`;
  return [warning("database.engineVersion", message)];
}

function classFault(topology: DatabaseConfig["database"]["topology"], name: string): string | undefined {
  if (name === "serverless") {
    return topology === "aurora" ? undefined : "serverless is for database.topology: aurora only";
  }
  if (topology === "aurora" && notOnAurora.test(name)) {
    return "Aurora has no m or c classes; choose one such as r7g.large, or serverless";
  }
  if (topology === "multi-az-cluster" && !localStorage.test(name.split(".")[0] ?? "")) {
    return "a multi-az-cluster needs a class with local storage, such as m6gd.large or r6gd.large";
  }
  return undefined;
}

/** The class that stands when the file gives none. */
export function defaultInstanceClass(topology: unknown): string | undefined {
  if (topology === "aurora") return "r7g.large";
  return topology === "multi-az-cluster" ? "m6gd.large" : undefined;
}
