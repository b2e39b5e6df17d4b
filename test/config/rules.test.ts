import { describe, expect, it } from "vitest";
import { checkConfig, formatProblem } from "../../lib/config/load.ts";
import { rules } from "../../lib/config/rules/index.ts";
import { roleSuffixes } from "../../lib/config/rules/names.ts";
import { roleNames } from "../../lib/install/role-names.ts";
import { configFor } from "../helpers/config.ts";

const now = new Date("2026-06-01T00:00:00Z");

/** What one rule says about a file that has no other errors than its own. */
function findings(rule: string, text: string, at = now): string[] {
  expect(rules.map(({ name }) => name)).toContain(rule);
  const { problems } = checkConfig(text, { now: at });
  expect(problems.filter((problem) => problem.rule !== rule && problem.severity === "error")).toEqual([]);
  return problems
    .filter((problem) => problem.rule === rule)
    .map((problem) => `${problem.severity} ${formatProblem(problem)}`);
}

/** Files that a rule accepts, and files that it does not with what it says. */
function specify(
  rule: string,
  healthy: readonly string[],
  faulty: readonly (readonly [string, string])[],
): void {
  describe(rule, () => {
    it.each(healthy)("accepts %j", (text) => {
      expect(findings(rule, text)).toEqual([]);
    });
    it.each(faulty)("finds fault with %j", (text, message) => {
      expect(findings(rule, text)).toEqual([message]);
    });
  });
}

it("has rules with distinct names, each with its demand and source", () => {
  expect(new Set(rules.map(({ name }) => name)).size).toBe(rules.length);
  for (const rule of rules) {
    expect(rule.name).toMatch(/^[a-z]+(-[a-z]+)*$/);
    expect(rule.demand.length).toBeGreaterThan(10);
    expect(rule.source.length).toBeGreaterThan(10);
  }
});

specify(
  "resume-below-limit",
  ["", "replicas: {maxLagSeconds: 120, resumeLagSeconds: 120, maxLagBytes: 5, resumeLagBytes: 5}"],
  [
    [
      "replicas: {resumeLagSeconds: 121}",
      "error replicas.resumeLagSeconds (line 1): 121 is above replicas.maxLagSeconds, 120; a replica would resume and be taken out again",
    ],
    [
      "replicas:\n  maxLagBytes: 4",
      "error replicas.resumeLagBytes (line 2): 67108864 is above replicas.maxLagBytes, 4; a replica would resume and be taken out again",
    ],
  ],
);

specify(
  "lag-limit-outlasts-routing",
  [
    "replicas: {maxLagSeconds: 120}",
    'replicas: {maxLagSeconds: 600}\nschedules: {route-replicas: "*/5 * * * *"}',
    "replicas: {count: 0, maxLagSeconds: 30}",
    "replicas: {count: 0}\nschedules: {route-replicas: off}",
  ],
  [
    [
      "replicas: {maxLagSeconds: 119}",
      "error replicas.maxLagSeconds (line 1): 119 is not allowed; at least 120, twice the longest time between two runs of route-replicas (1 minute)",
    ],
    [
      'replicas: {maxLagSeconds: 599}\nschedules: {route-replicas: "*/5 * * * *"}',
      "error replicas.maxLagSeconds (line 1): 599 is not allowed; at least 600, twice the longest time between two runs of route-replicas (5 minutes)",
    ],
    [
      'schedules:\n  route-replicas: "* 9-17 * * *"',
      "error replicas.maxLagSeconds (line 2): 120 is not allowed; at least 108120, twice the longest time between two runs of route-replicas (901 minutes)",
    ],
    [
      "schedules: {route-replicas: off}",
      "warning schedules.route-replicas (line 1): off, so nobody publishes which replicas may serve reads; give a schedule or set replicas.count to 0",
    ],
  ],
);

specify(
  "replicas-fit-topology",
  [
    "database: {topology: multi-az-cluster}",
    "database: {topology: multi-az-cluster}\nreplicas: {count: 2}",
    "database: {topology: aurora}\nreplicas: {count: 15}",
    "replicas: {count: 0}",
  ],
  [
    [
      "database: {topology: multi-az-cluster}\nreplicas: {count: 3}",
      "error replicas.count (line 2): 3 is not allowed; a multi-az-cluster has exactly 2 readable standbys (leave it out, or choose another database.topology)",
    ],
  ],
);

specify(
  "class-fits-topology",
  [
    "database: {topology: aurora, instanceClass: serverless}",
    "database: {topology: aurora, instanceClass: r8g.xlarge}",
    "database: {topology: aurora, instanceClass: t4g.medium}",
    "database: {topology: multi-az-cluster, instanceClass: r6idn.large}",
    "database: {topology: instance, instanceClass: t4g.micro}",
  ],
  [
    [
      "database: {instanceClass: serverless}",
      "error database.instanceClass (line 1): serverless is not allowed; serverless is for database.topology: aurora only",
    ],
    [
      "database: {topology: aurora, instanceClass: m7g.large}",
      "error database.instanceClass (line 1): m7g.large is not allowed; Aurora has no m or c classes; choose one such as r7g.large, or serverless",
    ],
    [
      "database: {topology: multi-az-cluster, instanceClass: r7g.large}",
      "error database.instanceClass (line 1): r7g.large is not allowed; a multi-az-cluster needs a class with local storage, such as m6gd.large or r6gd.large",
    ],
  ],
);

specify(
  "storage-can-grow",
  [
    "database: {storageGigabytes: 100, maxStorageGigabytes: 100}",
    "database: {storageGigabytes: 100, maxStorageGigabytes: 110}",
    "database: {topology: aurora, storageGigabytes: 1000}",
  ],
  [
    [
      "database: {storageGigabytes: 1000}",
      "error database.maxStorageGigabytes (line 1): 500 is below database.storageGigabytes, 1000; at least 1000",
    ],
    [
      "database: {storageGigabytes: 100, maxStorageGigabytes: 109}",
      "error database.maxStorageGigabytes (line 1): 109 is not allowed; 100 for no autoscaling, or at least 110, a tenth above database.storageGigabytes",
    ],
  ],
);

describe("engine-in-standard-support", () => {
  const at = (version: number, day: string) =>
    findings("engine-in-standard-support", `database: {engineVersion: ${version}}`, new Date(day));

  it.each([
    [14, "2026-08-31T23:59:59Z"],
    [15, "2027-08-31T23:59:59Z"],
    [18, "2030-08-31T00:00:00Z"],
  ])("accepts %i until six months before its end (%s)", (version, day) => {
    expect(at(version, day)).toEqual([]);
  });

  it("warns in the last six months, to the last day", () => {
    const warning =
      "warning database.engineVersion (line 1): standard support of PostgreSQL 14 ends on 2027-02-28; upgrade to 18 before";
    expect(at(14, "2026-09-01T00:00:00Z")).toEqual([warning]);
    expect(at(14, "2027-02-28T23:59:59Z")).toEqual([warning]);
  });

  it("says from the day after that AWS refuses it", () => {
    expect(at(14, "2027-03-01T00:00:00Z")).toEqual([
      "warning database.engineVersion (line 1): standard support of PostgreSQL 14 ended on 2027-02-28, and AWS refuses to create it without Extended Support; upgrade to 18",
    ]);
    expect(at(15, "2028-02-29T23:00:00Z")).toEqual([expect.stringMatching(/^warning .*2028-02-29/)]);
    expect(at(15, "2028-03-01T00:00:00Z")).toEqual([expect.stringMatching(/ ended on 2028-02-29/)]);
  });

  it("names no newer version when there is none", () => {
    expect(at(18, "2031-03-01T00:00:00Z")).toEqual([
      "warning database.engineVersion (line 1): standard support of PostgreSQL 18 ended on 2031-02-28, and AWS refuses to create it without Extended Support",
    ]);
  });
});

specify(
  "pool-fits-database",
  [
    "database: {maxConnections: 35}",
    "database: {maxConnections: 20}\npooling: {enabled: false}",
    "pooling: {poolSize: 900}",
  ],
  [
    [
      "database: {maxConnections: 34}",
      "error pooling.poolSize (line 1): 20 and 5 in reserve do not fit into database.maxConnections, 34; together at most 24, because 10 stay free for jobs, people and AWS",
    ],
  ],
);

specify(
  "pool-sizes-agree",
  [
    "pooling: {poolSize: 5, reservePoolSize: 5}",
    "pooling: {maxClientConnections: 25}",
    "roles: {application: {connectionLimit: 20}}",
    "pooling: {enabled: false, poolSize: 1}",
  ],
  [
    [
      "pooling: {poolSize: 4}",
      "error pooling.reservePoolSize (line 1): 5 is above pooling.poolSize, 4; a reserve is the smaller part",
    ],
    [
      "pooling: {maxClientConnections: 24}",
      "error pooling.maxClientConnections (line 1): 24 is below the 25 server connections of the pool; at least 25",
    ],
    [
      "roles: {application: {connectionLimit: 19}}",
      "warning roles.application.connectionLimit (line 1): 19 is below pooling.poolSize, 20; the pool could never fill",
    ],
  ],
);

specify(
  "role-limits-fit-database",
  [
    "database: {maxConnections: 50}\nroles: {application: {connectionLimit: 50}, reporting: {connectionLimit: -1}}",
  ],
  [
    [
      "database: {maxConnections: 50}\nroles: {reporting: {connectionLimit: 51}}",
      "error roles.reporting.connectionLimit (line 2): 51 is above database.maxConnections, 50; at most that, or -1 for no limit",
    ],
  ],
);

const databases = (count: number, each = "{}") =>
  `databases:\n${Array.from({ length: count }, (_, index) => `  db${index + 1}: ${each}`).join("\n")}\n`;
const remedy =
  "keep fewer (backups.keepDaily, keepWeekly, keepMonthly), or have AWS raise the quota and say so in account.manualSnapshotsPerRegion";

specify(
  "snapshot-quota",
  [
    "",
    databases(3),
    `account: {manualSnapshotsPerRegion: 200}\n${databases(6)}`,
    `backups: {keepDaily: 10, keepWeekly: 0, keepMonthly: 0}\n${databases(8)}`,
    `${databases(3)}  c1: {database: {topology: aurora}}\n  c2: {database: {topology: aurora}}\n`,
    `backups: {copyToRegions: [eu-west-1]}\n${databases(3)}`,
  ],
  [
    [
      databases(4),
      `warning backups: 92 manual instance snapshots in the home region (db1 23, db2 23, db3 23, db4 23), and the quota is 100, so its alarm at 80 % fires; ${remedy}`,
    ],
    [
      `backups: {keepMonthly: 14}\n${databases(4)}`,
      `warning backups (line 1): 100 manual instance snapshots in the home region (db1 25, db2 25, db3 25, db4 25), and the quota is 100, so its alarm at 80 % fires; ${remedy}`,
    ],
    [
      databases(5),
      `error backups: 115 manual instance snapshots in the home region (db1 23, db2 23, db3 23, db4 23, db5 23), and the quota is 100; ${remedy}`,
    ],
    [
      "backups: {keepDaily: 100, keepWeekly: 1, keepMonthly: 0}\ndatabase: {topology: aurora}",
      `error backups (line 1): 101 manual cluster snapshots in the home region (app 101), and the quota is 100; ${remedy}`,
    ],
  ],
);

it("snapshot-quota counts copies in the region they go to, across databases", () => {
  const text = `account: {manualSnapshotsPerRegion: 150}
databases:
${Array.from({ length: 7 }, (_, index) => `  db${index}: {backups: {keepDaily: 6, keepMonthly: 5, copyToRegions: [${index < 4 ? "eu-west-1" : "us-east-1, eu-west-1"}]}}`).join("\n")}
`;
  expect(findings("snapshot-quota", text)).toEqual([]);
  expect(findings("snapshot-quota", text.replace("150", "104"))).toEqual([
    expect.stringMatching(/^error backups.*: 105 manual instance snapshots in the home region/),
    expect.stringMatching(/^error backups.*: 105 manual instance snapshots in eu-west-1/),
  ]);
});

specify(
  "copies-to-distinct-regions",
  ["backups: {copyToRegions: [eu-west-1, eu-west-2]}"],
  [
    [
      "backups: {copyToRegions: [eu-west-1, eu-west-2, eu-west-1]}",
      "error backups.copyToRegions (line 1): names eu-west-1 twice; each region once",
    ],
  ],
);

specify(
  "recovery-point-possible",
  ["backups: {drill: {maxRpoSeconds: 300}}"],
  [
    [
      "backups: {drill: {maxRpoSeconds: 299}}",
      "warning backups.drill.maxRpoSeconds (line 1): 299 cannot be held on RDS, which stores the log every 5 minutes; at least 300",
    ],
  ],
);

const windows = (backup: string, maintenance: string) =>
  `backups: {window: "${backup}"}\nmaintenance: {window: "${maintenance}"}`;

specify(
  "windows-long-enough",
  [windows("03:00-03:30", "sun:23:45-mon:00:15"), windows("23:45-00:15", "sat:01:00-sat:03:00")],
  [
    [
      windows("03:00-03:29", "sun:04:00-sun:05:00"),
      "error backups.window (line 1): 03:00-03:29 is not allowed; at least 30 minutes",
    ],
    [
      windows("03:00-03:30", "sun:04:00-sun:04:00"),
      "error maintenance.window (line 2): sun:04:00-sun:04:00 is not allowed; at least 30 minutes",
    ],
  ],
);

specify(
  "windows-apart",
  [
    windows("03:00-04:00", "sun:04:00-sun:05:00"),
    windows("05:00-05:30", "sun:04:00-sun:05:00"),
    windows("23:30-00:30", "mon:00:30-mon:01:00"),
    windows("12:00-13:00", "sat:23:00-sun:02:00"),
  ],
  [
    [
      windows("03:30-04:01", "sun:04:00-sun:05:00"),
      "error maintenance.window (line 2): sun:04:00-sun:05:00 overlaps backups.window, 03:30-04:01; RDS refuses that",
    ],
    [
      windows("04:15-04:45", "sun:04:00-sun:05:00"),
      "error maintenance.window (line 2): sun:04:00-sun:05:00 overlaps backups.window, 04:15-04:45; RDS refuses that",
    ],
    [
      windows("23:30-00:31", "wed:00:30-wed:01:00"),
      "error maintenance.window (line 2): wed:00:30-wed:01:00 overlaps backups.window, 23:30-00:31; RDS refuses that",
    ],
    [
      windows("00:15-00:45", "sat:23:30-sun:00:30"),
      "error maintenance.window (line 2): sat:23:30-sun:00:30 overlaps backups.window, 00:15-00:45; RDS refuses that",
    ],
    [
      windows("12:00-13:00", "mon:14:00-tue:14:00"),
      "error maintenance.window (line 2): mon:14:00-tue:14:00 overlaps backups.window, 12:00-13:00; RDS refuses that",
    ],
  ],
);

specify(
  "recovery-watched",
  ['schedules: {check-recovery: "0 * * * *"}'],
  [
    [
      "schedules: {check-recovery: off}",
      "warning schedules.check-recovery (line 1): off, so nobody notices when changes can no longer be restored",
    ],
    [
      'schedules: {check-recovery: "0 */6 * * *"}',
      "warning schedules.check-recovery (line 1): leaves up to 6 hours in which nobody notices that changes can no longer be restored",
    ],
  ],
);

specify(
  "page-above-ticket",
  ["alarms: {transactionIdsPage: 500000000}"],
  [
    [
      "alarms: {transactionIdsTicket: 1000000001}",
      "error alarms.transactionIdsPage (line 1): 1000000000 is below alarms.transactionIdsTicket, 1000000001; a ticket comes before a page",
    ],
  ],
);

specify(
  "critical-above-high",
  ["health: {transactionIdsCritical: 500000000}"],
  [
    [
      "health: {transactionIdsHigh: 1000000001}",
      "error health.transactionIdsCritical (line 1): 1000000000 is below health.transactionIdsHigh, 1000000001; what is critical is also high",
    ],
  ],
);

specify(
  "ticket-above-warning",
  ["health: {longQueryWarnSeconds: 300}"],
  [
    [
      "health: {longQueryWarnSeconds: 301}",
      "error health.longQueryTicketSeconds (line 1): 300 is below health.longQueryWarnSeconds, 301; a warning comes before a ticket",
    ],
  ],
);

specify(
  "lock-timeout-below-statement-timeout",
  ["roles: {application: {lockTimeoutSeconds: 29}}", "roles: {migrations: {lockTimeoutSeconds: 86400}}"],
  [
    [
      "roles: {application: {statementTimeoutSeconds: 5}}",
      "warning roles.application.lockTimeoutSeconds (line 1): 5 has no effect, because statementTimeoutSeconds, 5, ends the statement first",
    ],
  ],
);

it("counts the suffixes that the installer gives to roles", () => {
  const names = Object.values(roleNames(configFor("shop"))).filter((name) => name.startsWith("shop_"));
  expect(names.toSorted()).toEqual(roleSuffixes.map((suffix) => `shop_${suffix}`).toSorted());
});

specify(
  "role-names-fit",
  [`database: {name: ${"a".repeat(52)}}`, `database: {name: ${"a".repeat(63)}}\nroles: {prefix: short}`],
  [
    [
      `database: {name: ${"é".repeat(27)}}`,
      "warning database.name (line 1): is 54 bytes long, so the names of its roles are cut and get a digest; set roles.prefix, at most 52 bytes, to choose them",
    ],
    [
      `roles: {prefix: ${"a".repeat(53)}}`,
      "error roles.prefix (line 1): is 53 bytes long; at most 52, so that the names of the roles fit",
    ],
  ],
);

specify(
  "role-names-free",
  ["database: {name: pg}\nroles: {prefix: shop}", "roles: {prefix: pgshop}", "roles: {prefix: rdsx}"],
  [
    [
      "database: {name: pg_shop}",
      'error database.name (line 1): "pg_shop" cannot begin the names of roles, because PostgreSQL reserves pg_; set another roles.prefix',
    ],
    [
      "roles: {prefix: pg}",
      'error roles.prefix (line 1): "pg" cannot begin the names of roles, because PostgreSQL reserves pg_; set another roles.prefix',
    ],
    [
      "roles: {prefix: pgkeep}",
      'warning roles.prefix (line 1): "pgkeep" begins the names of roles that are easily taken for those of pgkeep or RDS; set another roles.prefix',
    ],
  ],
);

specify(
  "database-name-free",
  ["database: {name: Shop_2}", "database: {name: postgres}"],
  [
    [
      "database: {name: template1}",
      "error database.name (line 1): template1 is a database of the server itself; choose another",
    ],
    [
      "databases: {shop-eu: {}}",
      'warning databases.shop-eu.database.name: "shop-eu" can be used by URL, but RDS creates only names of a letter, then letters, digits and underscores',
    ],
  ],
);

specify(
  "databases-told-apart",
  [
    "databases: {a: {}, b: {}}",
    "databases: {a: {database: {name: x}}, b: {database: {name: x}, roles: {prefix: b}}}",
  ],
  [
    [
      "databases:\n  a: {database: {name: x}}\n  b: {database: {name: x}}",
      'warning databases.b.database.name (line 3): "x" also begins the roles of a; fine on servers of their own, but on one server both would share their roles (set roles.prefix)',
    ],
    [
      "roles: {prefix: app}\ndatabases: {a: {}, b: {}}",
      'warning roles.prefix (line 1): "app" also begins the roles of a; fine on servers of their own, but on one server both would share their roles (set roles.prefix) (in b)',
    ],
  ],
);

specify(
  "valid-schedule",
  [
    "schedules: {vacuum: off}",
    'schedules: {vacuum: "0 3 * * MON-FRI", drill-restore: "0 5 1 * *", check-health: "*/5 * * * *"}',
    'schedules: {vacuum: "0 3 29 2 *"}',
    'schedules: {vacuum: "0 3 L * *"}',
  ],
  [
    [
      'schedules: {vacuum: "0 24 * * *"}',
      'error schedules.vacuum (line 1): "0 24 * * *" is not allowed; five cron fields (minute, hour, day of month, month, day of week): Invalid value for hour: 24',
    ],
    [
      'schedules: {vacuum: "0 0 30 2 *"}',
      'error schedules.vacuum (line 1): "0 0 30 2 *" is not allowed; it never comes true',
    ],
    [
      'schedules: {vacuum: "0 0 1 * MON"}',
      'error schedules.vacuum (line 1): "0 0 1 * MON" is not allowed; fix the day of month or the day of week, not both',
    ],
  ],
);

specify(
  "backups-every-day",
  ['schedules: {back-up: "0 */6 * * *"}', 'schedules: {back-up: "30 2 * * *"}'],
  [
    ["schedules: {back-up: off}", "warning schedules.back-up (line 1): off, so no backup is taken"],
    [
      'schedules: {back-up: "0 2 * * MON-FRI"}',
      "warning schedules.back-up (line 1): leaves up to 3 days between two backups; backups.keepDaily counts on one each day",
    ],
  ],
);

specify(
  "private-addresses",
  [
    "network: {cidr: 172.31.0.0/16}",
    "network: {cidr: 192.168.4.0/24}",
    "network: {cidr: 100.64.0.0/16}",
    "network: {cidr: 8.8.0.0/16, existingVpcId: vpc-0123456789abcdef0, existingSubnetIds: [subnet-00000001, subnet-00000002]}",
  ],
  [
    [
      "network: {cidr: 172.32.0.0/16}",
      "warning network.cidr (line 1): 172.32.0.0/16 is not a private range; hosts that own these addresses could not be reached (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16)",
    ],
  ],
);

specify(
  "existing-vpc-complete",
  [
    "",
    "network: {existingVpcId: vpc-0123456789abcdef0, existingSubnetIds: [subnet-00000001, subnet-00000002]}",
  ],
  [
    [
      "network: {existingVpcId: vpc-0123456789abcdef0, existingSubnetIds: [subnet-00000001]}",
      "error network.existingSubnetIds (line 1): names 1; at least 2 isolated subnets of vpc-0123456789abcdef0, in zones of their own",
    ],
    [
      "network: {existingVpcId: vpc-0123456789abcdef0, existingSubnetIds: [subnet-00000001, subnet-00000001]}",
      "error network.existingSubnetIds (line 1): names a subnet twice; each once, in zones of their own",
    ],
    [
      "network: {existingSubnetIds: [subnet-00000001, subnet-00000002]}",
      "error network.existingSubnetIds (line 1): belongs to an existing VPC; give network.existingVpcId too",
    ],
  ],
);

specify(
  "reader-autoscaling-possible",
  ["", "database: {topology: aurora}\nreplicas: {count: 1, maxCount: 4}"],
  [
    [
      "replicas: {maxCount: 4}",
      "error replicas.maxCount (line 1): 4 is not allowed; only Aurora adds readers by itself; leave it out, or set database.topology to aurora",
    ],
    [
      "database: {topology: aurora}\nreplicas: {count: 0, maxCount: 4}",
      "error replicas.maxCount (line 2): 4 is not allowed; autoscaling needs a replica to begin with; set replicas.count to 1 or more",
    ],
    [
      "database: {topology: aurora}\nreplicas: {count: 5, maxCount: 4}",
      "error replicas.maxCount (line 2): 4 is not allowed; it is below replicas.count, 5; at least that",
    ],
  ],
);

specify(
  "serverless-range",
  ["database: {topology: aurora, instanceClass: serverless, serverless: {minCapacityUnits: 0.5}}"],
  [
    [
      "database: {topology: aurora, instanceClass: serverless, serverless: {maxCapacityUnits: 1}}",
      "error database.serverless.maxCapacityUnits (line 1): 1 is below database.serverless.minCapacityUnits, 2; at least that",
    ],
  ],
);

const key = (length: number, section: string) => `databases: {${"k".repeat(length)}: {${section}}}`;

specify(
  "files-bucket-name",
  [key(22, "files: {enabled: true}"), key(23, ""), key(23, "files: {enabled: true, bucketName: mine}")],
  [
    [
      key(23, "files: {enabled: true}"),
      `error databases.${"k".repeat(23)}.files.bucketName: pgkeep-${"k".repeat(23)}-files-ACCOUNT-REGION is longer than the 63 characters of a bucket's name; give one`,
    ],
  ],
);

specify(
  "files-buckets-apart",
  ["databases: {a: {files: {enabled: true, bucketName: one}}, b: {files: {bucketName: one}}}"],
  [
    [
      "databases: {a: {files: {enabled: true, bucketName: one}}, b: {files: {enabled: true, bucketName: one}}}",
      "error databases.b.files.bucketName (line 1): one is also the bucket of a; one each",
    ],
  ],
);

specify(
  "files-lifecycle-ordered",
  [
    "files: {enabled: true, exports: {infrequentAccessAfterDays: 30, archiveAfterDays: 60, expireAfterDays: 61}}",
    "files: {enabled: true, media: {expireAfterDays: 1}}",
    "files: {media: {archiveAfterDays: 9, expireAfterDays: 1}}",
  ],
  [
    [
      "files: {enabled: true, exports: {infrequentAccessAfterDays: 30, archiveAfterDays: 59}}",
      "error files.exports.archiveAfterDays (line 1): 59 is less than 30 days after infrequentAccessAfterDays, 30; S3 refuses that",
    ],
    [
      "files: {enabled: true, dumps: {archiveAfterDays: 60, expireAfterDays: 60}}",
      "error files.dumps.expireAfterDays (line 1): 60 is not after 60, when objects move to another storage class; S3 refuses that",
    ],
  ],
);

specify(
  "files-lock-within-retention",
  [
    "files: {enabled: true, noncurrentDays: 5, dumps: {expireAfterDays: 10}, objectLock: {mode: governance, days: 15}}",
    "files: {enabled: true, noncurrentDays: 5, dumps: {expireAfterDays: 10}, objectLock: {days: 16}}",
    "files: {enabled: true, objectLock: {mode: governance, days: 3650}}",
  ],
  [
    [
      "files: {enabled: true, noncurrentDays: 5, dumps: {expireAfterDays: 10}, objectLock: {mode: governance, days: 16}}",
      "error files.objectLock.days (line 1): 16 keeps what is below dumps/ locked for longer than it is to be kept, 10 (expireAfterDays) and 5 (noncurrentDays) days",
    ],
  ],
);

specify(
  "files-lock-irrevocable",
  ["files: {enabled: true, objectLock: {mode: governance}}", "files: {objectLock: {mode: compliance}}"],
  [
    [
      "files: {enabled: true, objectLock: {mode: compliance, days: 9}}",
      "warning files.objectLock.mode (line 1): compliance: nobody can delete a file, nor stop paying for it, for 9 days",
    ],
  ],
);

specify(
  "cache-names-fit",
  [key(29, "cache: {enabled: true}"), key(30, "")],
  [
    [
      key(30, "cache: {enabled: true}"),
      `error databases.${"k".repeat(30)}.cache.enabled (line 1): pgkeep-${"k".repeat(30)}-app is longer than the 40 characters of a name in ElastiCache; choose a key of at most 29`,
    ],
  ],
);

const cacheWindows = (snapshot: string, maintenance: string, more = "") =>
  `cache: {enabled: true, snapshotWindow: "${snapshot}", maintenanceWindow: "${maintenance}"${more}}`;

specify(
  "cache-windows-long-enough",
  [
    cacheWindows("23:30-00:30", "sat:23:30-sun:00:30").replace("23:30-00:30", "10:00-11:00"),
    "cache: {snapshotWindow: 05:00-05:01}",
  ],
  [
    [
      cacheWindows("10:00-10:59", "mon:12:00-mon:13:00"),
      "error cache.snapshotWindow (line 1): 10:00-10:59 is not allowed; at least 60 minutes",
    ],
    [
      cacheWindows("10:00-11:00", "mon:12:00-mon:12:30"),
      "error cache.maintenanceWindow (line 1): mon:12:00-mon:12:30 is not allowed; at least 60 minutes",
    ],
  ],
);

specify(
  "cache-windows-apart",
  [
    cacheWindows("05:00-06:00", "mon:06:00-mon:07:00"),
    cacheWindows("05:00-06:00", "sun:05:00-sun:06:00", ", snapshotRetentionDays: 0"),
    "cache: {maintenanceWindow: sun:05:00-sun:06:00}",
  ],
  [
    [
      cacheWindows("05:00-06:00", "mon:05:30-mon:06:30"),
      "error cache.maintenanceWindow (line 1): mon:05:30-mon:06:30 overlaps cache.snapshotWindow, 05:00-06:00; move one of them",
    ],
    [
      cacheWindows("10:00-11:00", "sat:23:00-sun:00:30"),
      "warning cache.maintenanceWindow (line 1): sat:23:00-sun:00:30 overlaps maintenance.window, sat:22:30-sat:23:30; both may be away at once",
    ],
  ],
);

const keyArn = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const restoring = (fields: string, more = "") => `database: {restoreFrom: {${fields}}${more}}`;
const aurora = ", topology: aurora";

specify(
  "restore-source-complete",
  [
    restoring(`snapshotId: pgkeep-shop-1, kmsKeyArn: "${keyArn}"`),
    restoring("snapshotId: pgkeep-shop-1", aurora),
    restoring(`resourceId: db-ABCDEFGH, latest: true, kmsKeyArn: "${keyArn}"`),
    restoring('resourceId: cluster-ABCDEFGH, time: "2026-01-02T03:04:05Z"', aurora),
  ],
  [
    [
      restoring("snapshotId: pgkeep-shop-1"),
      "error database.restoreFrom.kmsKeyArn (line 1): missing; an instance keeps the key of its source: give its ARN (`aws rds describe-db-snapshots` and `describe-db-instances` show it as KmsKeyId)",
    ],
    [
      restoring("latest: true"),
      "error database.restoreFrom.latest (line 1): says nothing by itself; give snapshotId, or resourceId for a moment",
    ],
    [
      restoring("resourceId: cluster-ABCDEFGH", aurora),
      "error database.restoreFrom.time (line 1): missing; give time, or latest: true",
    ],
    [
      restoring('resourceId: cluster-ABCDEFGH, latest: true, time: "2026-01-02T03:04:05Z"', aurora),
      "error database.restoreFrom.latest (line 1): beside time; give one of the two",
    ],
    [
      restoring("resourceId: cluster-ABCDEFGH, snapshotId: a, latest: true", aurora),
      "error database.restoreFrom.resourceId (line 1): beside snapshotId; give one of the two, a snapshot or a moment",
    ],
    [
      restoring('snapshotId: a, time: "2026-01-02T03:04:05Z"', aurora),
      "error database.restoreFrom.time (line 1): a snapshot is of one moment; leave it out, or give resourceId instead of snapshotId",
    ],
  ],
);

specify(
  "restore-source-fits-topology",
  [restoring('snapshotId: "arn:aws:rds:eu-west-1:123456789012:cluster-snapshot:a"', aurora)],
  [
    [
      restoring(`resourceId: cluster-ABCDEFGH, latest: true, kmsKeyArn: "${keyArn}"`),
      "error database.restoreFrom.resourceId (line 1): cluster-ABCDEFGH cannot become the topology instance; give a resource id that begins with db-, or restore a snapshot",
    ],
    [
      restoring(
        `snapshotId: "arn:aws:rds:eu-west-1:123456789012:cluster-snapshot:a", kmsKeyArn: "${keyArn}"`,
      ),
      "error database.restoreFrom.snapshotId (line 1): is a snapshot of a cluster; give one of an instance, or set database.topology to aurora or multi-az-cluster",
    ],
  ],
);

specify(
  "restore-moment-passed",
  [restoring('resourceId: cluster-ABCDEFGH, time: "2026-05-31T23:59:59Z"', aurora)],
  [
    [
      restoring('resourceId: cluster-ABCDEFGH, time: "2026-06-01T00:00:00Z"', aurora),
      "error database.restoreFrom.time (line 1): 2026-06-01T00:00:00Z is still to come; give a moment that has been",
    ],
    [
      restoring('resourceId: cluster-ABCDEFGH, time: "2026-02-30T00:00:00Z"', aurora),
      "error database.restoreFrom.time (line 1): 2026-02-30T00:00:00Z is no moment of the calendar",
    ],
  ],
);

const home = "account: {region: eu-west-1}\n";

specify(
  "home-region-known",
  [
    `${home}backups: {replicateToRegion: eu-central-1, copyToRegions: [eu-central-1]}`,
    `${home}replicas: {disasterRecovery: {region: us-east-1}}`,
    "backups: {copyToRegions: [eu-west-1]}",
  ],
  [
    [
      "backups: {replicateToRegion: eu-central-1}",
      "error backups.replicateToRegion (line 1): eu-central-1 needs to know which region it is apart from; give account.region, the region that is deployed to",
    ],
    [
      "replicas: {disasterRecovery: {region: us-east-1}}",
      "error replicas.disasterRecovery.region (line 1): us-east-1 needs to know which region it is apart from; give account.region, the region that is deployed to",
    ],
    [
      `${home}backups: {copyToRegions: [us-east-1, eu-west-1]}`,
      "error backups.copyToRegions (line 2): eu-west-1 is account.region itself; name another region, or leave it out",
    ],
  ],
);

specify(
  "disaster-recovery-possible",
  [
    `${home}replicas: {disasterRecovery: {region: us-east-1, existingVpcId: vpc-00000001, existingSubnetIds: [subnet-00000001, subnet-00000002]}}`,
  ],
  [
    [
      `${home}database: {topology: aurora}\nreplicas: {disasterRecovery: {region: us-east-1}}`,
      "error replicas.disasterRecovery.region (line 3): only an instance can have a replica in another region; name the region in backups.copyToRegions and restore there, or put an Aurora global database around the cluster yourself",
    ],
    [
      `${home}database: {topology: multi-az-cluster}\nreplicas: {disasterRecovery: {region: us-east-1}}`,
      "error replicas.disasterRecovery.region (line 3): only an instance can have a replica in another region; a multi-az-cluster replicates within its region only; set database.topology to instance",
    ],
    [
      "replicas: {disasterRecovery: {promoted: true}}",
      "error replicas.disasterRecovery.promoted (line 1): says nothing by itself; give replicas.disasterRecovery.region too",
    ],
    [
      `${home}replicas: {disasterRecovery: {region: us-east-1, existingVpcId: vpc-00000001, existingSubnetIds: [subnet-00000001]}}`,
      "error replicas.disasterRecovery.existingSubnetIds (line 2): at least 2 isolated subnets of vpc-00000001, in zones of their own",
    ],
  ],
);

specify(
  "backup-replication-possible",
  [
    `${home}backups: {replicateToRegion: eu-central-1, replicationKeyArn: "${keyArn.replace("eu-west", "eu-central")}"}`,
  ],
  [
    [
      `${home}database: {topology: aurora}\nbackups: {replicateToRegion: eu-central-1}`,
      "error backups.replicateToRegion (line 3): RDS replicates the automated backups of instances only; name the region in backups.copyToRegions, or set database.topology to instance",
    ],
    [
      `${home}backups: {replicateToRegion: eu-central-1, replicationKeyArn: "${keyArn}"}`,
      "error backups.replicationKeyArn (line 2): is a key in eu-west-1; give one in eu-central-1, or leave it out and one is made",
    ],
    [
      "backups: {replicatedDays: 3}",
      "error backups.replicatedDays (line 1): says nothing by itself; give backups.replicateToRegion too",
    ],
  ],
);

specify(
  "copies-possible",
  ["{database: {topology: aurora}, backups: {copyToRegions: [eu-west-2]}}"],
  [
    [
      "{database: {topology: multi-az-cluster}, backups: {copyToRegions: [eu-west-2]}}",
      "error backups.copyToRegions (line 1): RDS does not copy snapshots of a multi-az-cluster; leave it out, or set database.topology to instance or aurora",
    ],
  ],
);

specify(
  "reader-endpoint-possible",
  ["{database: {topology: aurora}, pooling: {readerEndpoint: true}}", "pooling: {readerEndpoint: false}"],
  [
    [
      "pooling: {readerEndpoint: true}",
      "error pooling.readerEndpoint (line 1): the proxy before an instance serves its writer only; leave it out and read from the replicas that the routing document names, or set database.topology to aurora",
    ],
    [
      "{database: {topology: aurora}, replicas: {count: 0}, pooling: {readerEndpoint: true}}",
      "error pooling.readerEndpoint (line 1): there is no replica to read from; set replicas.count to 1 or more",
    ],
    [
      "pooling: {readerEndpoint: true, enabled: false}",
      "error pooling.readerEndpoint (line 1): there is no proxy; set pooling.enabled to true",
    ],
  ],
);

specify(
  "pooler-hears-settings",
  ["", "pooling: {enabled: false, maxClientConnections: 50}", "pooling: {idleClientTimeoutSeconds: 60}"],
  [
    [
      "pooling: {maxClientConnections: 50}",
      "warning pooling.maxClientConnections (line 1): 50 is for PgBouncer only; RDS Proxy takes clients without a limit and lets them wait pooling.borrowTimeoutSeconds for a connection",
    ],
    [
      "pooling: {idleTimeoutSeconds: 60}",
      "warning pooling.idleTimeoutSeconds (line 1): 60 is for PgBouncer only; RDS Proxy keeps up to pooling.poolSize idle connections open for as long as it likes",
    ],
  ],
);
