import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  ConfigError,
  checkConfig,
  databaseKey,
  defaultConfig,
  loadConfig,
  parseConfig,
} from "../../lib/config/load.ts";
import { databaseConfigSchema, databaseKeySchema } from "../../lib/config/schema.ts";
import { UsageError } from "../../lib/errors.ts";

const now = new Date("2026-06-01T00:00:00Z");
const parse = (text: string) => parseConfig(text, "pgkeep.yaml", { now });

function messageOf(text: string): string {
  try {
    parse(text);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  throw new Error("the text was accepted");
}

describe("a configuration without problems", () => {
  it.each(["", "\n", "# nothing but a comment\n", "---\n", "{}", "backups:\n", "\uFEFF", "null"])(
    "gives the defaults for %j",
    (text) => {
      expect(parse(text)).toEqual(defaultConfig());
    },
  );

  it("has the same defaults as the schema, under a key made from the database's name", () => {
    expect(defaultConfig().databases).toEqual([{ key: "app", ...databaseConfigSchema.parse({}) }]);
    expect(defaultConfig().network.cidr).toBe("10.20.0.0/16");
    expect(defaultConfig().account.manualSnapshotsPerRegion).toBe(100);
  });

  it("derives the key of a single database from its name", () => {
    expect(parse("database: {name: Shop_EU}").databases.map(({ key }) => key)).toEqual(["shop-eu"]);
  });

  it("gives each database the sections at the top, and its own over them", () => {
    const config = parse(`
replicas: {count: 1, maxLagSeconds: 300}
backups:
  keepDaily: 3
  copyToRegions: [eu-west-1, eu-west-3]
  drill: {target: random, maxRtoSeconds: 600}
databases:
  shop:
    replicas: {count: 4}
    backups:
      copyToRegions: [us-east-1]
      drill: {maxRtoSeconds: 60}
  crm:
`);
    const [shop, crm] = config.databases;
    expect(shop?.replicas).toMatchObject({ count: 4, maxLagSeconds: 300, resumeLagSeconds: 30 });
    expect(shop?.backups.copyToRegions).toEqual(["us-east-1"]);
    expect(shop?.backups).toMatchObject({ keepDaily: 3, drill: { target: "random", maxRtoSeconds: 60 } });
    expect(crm?.replicas.count).toBe(1);
    expect(crm?.backups.copyToRegions).toEqual(["eu-west-1", "eu-west-3"]);
    expect(crm?.backups.drill).toEqual({ target: "random", maxRtoSeconds: 600, maxRpoSeconds: 900 });
  });

  it("names a database after its key unless it has a name of its own", () => {
    const config = parse("databases: {shop: {}, crm: {database: {name: customers}}}");
    expect(config.databases.map(({ key, database }) => [key, database.name])).toEqual([
      ["shop", "shop"],
      ["crm", "customers"],
    ]);
  });

  it("chooses an instance class that the topology has, and keeps one that is given", () => {
    const config = parse(`
databases:
  one: {database: {topology: aurora}}
  two: {database: {topology: multi-az-cluster}}
  three: {database: {topology: aurora, instanceClass: serverless}}
  four: {}
`);
    expect(config.databases.map(({ database }) => database.instanceClass)).toEqual([
      "r7g.large",
      "m6gd.large",
      "serverless",
      "m7g.large",
    ]);
  });

  it("takes a version as a number or as a text", () => {
    expect(parse("database: {engineVersion: 16}").databases[0]?.database.engineVersion).toBe("16");
    expect(parse('database: {engineVersion: "16"}').databases[0]?.database.engineVersion).toBe("16");
  });

  it("reads CRLF, a byte order mark, anchors and unicode", () => {
    const config = parse(
      '\uFEFFdatabase:\r\n  name: "Größe 数据"\r\nroles:\r\n  application: &limits\r\n    lockTimeoutSeconds: 7\r\n  migrations: *limits\r\n',
    );
    expect(config.databases[0]?.database.name).toBe("Größe 数据");
    expect(config.databases[0]?.roles.application.lockTimeoutSeconds).toBe(7);
    expect(config.databases[0]?.roles.migrations.lockTimeoutSeconds).toBe(7);
  });

  it("keeps off a word, even in a file that says it is YAML 1.1", () => {
    const config = parse("%YAML 1.1\n---\nschedules: {vacuum: off}\n");
    expect(config.databases[0]?.schedules.vacuum).toBe("off");
  });
});

describe("problems", () => {
  it("are all in one message, in the order of the file, with line, value and what is allowed", () => {
    expect(
      messageOf(`replica:
  count: 3
database:
  topology: cluster
  engineVersion: 13
  instanceClass: db.m7g.large
  storageGigabytes: 20.5
  deletionProtection: yes
backups:
  pointInTimeRecoveryDays: 90
  keepdaily: 3
  window: 3:00-4:00
  copyToRegions: [eu-west-1, Ireland]
keepWeekly: 9
replicas:
  maxLagSeconds: 30
pooling: off
maintenance:
  vacuum:
    threshold: "0.5"
    budgetSeconds:
schedules:
  timeZone: Mars/Olympus
  back-up: daily
  vacuum: 61 * * * *
  reindex: off
notifications:
  page: nobody
network:
  cidr: 10.20.0.1/16
databases:
  Shop: {}
  crm:
    network: {}
    health: {longQueryWarnSeconds: 600}
  hr: 3
`),
    ).toMatchInlineSnapshot(`
      "pgkeep.yaml has 24 problems:
        replica (line 1): unknown key; did you mean replicas?
        database.topology (line 4): "cluster" is not allowed; instance, multi-az-cluster or aurora
        database.engineVersion (line 5): 13 is not allowed; 14, 15, 16, 17 or 18
        database.instanceClass (line 6): "db.m7g.large" is not allowed; an instance class without db., such as m7g.large, or serverless
        database.storageGigabytes (line 7): 20.5 is not allowed; a whole number from 20 to 65536
        database.deletionProtection (line 8): "yes" is not allowed; true or false
        backups.pointInTimeRecoveryDays (line 10): 90 is not allowed; a whole number from 1 to 35
        backups.keepdaily (line 11): unknown key; did you mean keepDaily?
        backups.window (line 12): "3:00-4:00" is not allowed; a UTC window such as 03:00-03:30
        backups.copyToRegions[1] (line 13): "Ireland" is not allowed; a region such as eu-west-1
        keepWeekly (line 14): unknown key; did you mean backups.keepWeekly?
        replicas.maxLagSeconds (line 16): 30 is not allowed; at least 120, twice the longest time between two runs of route-replicas (1 minute)
        pooling (line 17): "off" is not allowed; a mapping with enabled, mode, poolSize, reservePoolSize, maxClientConnections, borrowTimeoutSeconds, idleTimeoutSeconds, idleClientTimeoutSeconds or readerEndpoint
        maintenance.vacuum.threshold (line 20): "0.5" is not allowed; a number from 0.05 to 10
        maintenance.vacuum.budgetSeconds (line 21): nothing is not allowed; a whole number from 1 to 86400
        schedules.timeZone (line 23): "Mars/Olympus" is not allowed; an IANA time zone such as Europe/Berlin
        schedules.back-up (line 24): "daily" is not allowed; five cron fields such as "*/5 * * * *", or off
        schedules.vacuum (line 25): "61 * * * *" is not allowed; five cron fields (minute, hour, day of month, month, day of week): Invalid value for minute: 61
        notifications.page (line 28): "nobody" is not allowed; a list of at most 10, each item an e-mail address
        network.cidr (line 30): "10.20.0.1/16" is not allowed; an IPv4 range from /16 to /24 without host bits, such as 10.20.0.0/16
        databases.Shop (line 32): not a name for a database; at most 40 lower-case letters, digits and single hyphens, beginning with a letter
        databases.crm.network (line 34): unknown key; network stands once, at the top of the file
        databases.crm.health.longQueryTicketSeconds (line 35): 300 is below health.longQueryWarnSeconds, 600; a warning comes before a ticket
        databases.hr (line 36): 3 is not allowed; a mapping with database, replicas, pooling, backups, logicalBackups, maintenance, partitions, health, history, integrity, review, roles, alarms, schedules, runs, files or cache"
    `);
  });

  it("are data, too, with warnings among them", () => {
    const { problems, config } = checkConfig("backups:\n  keepDaily: 900\nschedules: {back-up: off}\n", {
      now,
    });
    expect(config).toBeUndefined();
    expect(problems).toEqual([
      {
        severity: "error",
        rule: "value",
        path: "backups.keepDaily",
        line: 2,
        column: 3,
        given: "900",
        message: "900 is not allowed; a whole number from 1 to 100",
      },
      {
        severity: "warning",
        rule: "backups-every-day",
        path: "schedules.back-up",
        line: 3,
        column: 13,
        message: "off, so no backup is taken",
      },
    ]);
  });

  it("come as a usage error with the code of the configuration, and a remedy", () => {
    expect(() => parse("replica: 1")).toThrow(UsageError);
    expect(() => parse("replica: 1")).toThrow(
      expect.objectContaining({
        code: "configuration",
        remedy: expect.stringContaining("pgkeep config check"),
        problems: [expect.objectContaining({ rule: "unknown-key", path: "replica" })],
      }),
    );
  });

  it("that are only warnings let the configuration through", () => {
    const { config, problems } = checkConfig("schedules: {back-up: off}", { now });
    expect(config?.databases[0]?.schedules["back-up"]).toBe("off");
    expect(problems.map(({ severity }) => severity)).toEqual(["warning"]);
    expect(parse("schedules: {back-up: off}")).toEqual(config);
  });

  it("of a shared setting name the databases that it is wrong for, once", () => {
    expect(
      messageOf(`replicas: {resumeLagSeconds: 200}
databases:
  shop: {}
  crm: {replicas: {maxLagSeconds: 300}}
  hr: {}
`),
    ).toMatchInlineSnapshot(`
      "pgkeep.yaml has a problem:
        replicas.resumeLagSeconds (line 1): 200 is above replicas.maxLagSeconds, 120; a replica would resume and be taken out again (in shop, hr)"
    `);
  });

  it("of a setting that is wrong by itself are not followed by those of the rules that read it", () => {
    const { problems } = checkConfig("replicas: {maxLagSeconds: 0, resumeLagSeconds: 200}", { now });
    expect(problems.map(({ path }) => path)).toEqual(["replicas.maxLagSeconds"]);
  });

  it("do not hide those of rules about other settings", () => {
    const { problems } = checkConfig("replicas: {count: 99, resumeLagSeconds: 200}", { now });
    expect(problems.map(({ rule }) => rule)).toEqual(["value", "resume-below-limit"]);
  });

  it.each([
    ["Replicas: {}", "Replicas (line 1): unknown key; did you mean replicas?"],
    ["backups: {keep_daily: 3}", "backups.keep_daily (line 1): unknown key; did you mean keepDaily?"],
    ["keepDaily: 3", "keepDaily (line 1): unknown key; did you mean backups.keepDaily?"],
    [
      "databases: {a: {account: {}}}",
      "databases.a.account (line 1): unknown key; account stands once, at the top of the file",
    ],
    [
      "<<: {}",
      '["<<"] (line 1): unknown key; merge keys are not used; settings at the top of the file are every database\'s',
    ],
    [
      "network: {region: x}",
      "network.region (line 1): unknown key; did you mean replicas.disasterRecovery.region?",
    ],
    [
      "backups: {drill: {x: 1}}",
      "backups.drill.x (line 1): unknown key; known here: target, maxRtoSeconds, maxRpoSeconds",
    ],
  ])("of keys in %s suggest what was meant", (text, message) => {
    expect(messageOf(text)).toBe(`pgkeep.yaml has a problem:\n  ${message}`);
  });

  it.each([
    [
      "databases: {}",
      "databases (line 1): an empty mapping is not allowed; a mapping from a name of each database to what is special about it (leave it out for a single database)",
    ],
    [
      "databases: [shop]",
      "databases (line 1): a list of 1 is not allowed; a mapping from a name of each database to what is special about it (leave it out for a single database)",
    ],
    [
      "databases: {a--b: {}}",
      "databases.a--b (line 1): not a name for a database; at most 40 lower-case letters, digits and single hyphens, beginning with a letter",
    ],
    ["- 1", "line 1, column 1: a list of 1 is not allowed; a mapping of sections"],
    ["shop", 'line 1, column 1: "shop" is not allowed; a mapping of sections'],
    [
      "replicas: {count: .inf}",
      "replicas.count (line 1): Infinity is not allowed; a whole number from 0 to 15",
    ],
    [
      "replicas: {count: 1e400}",
      "replicas.count (line 1): Infinity is not allowed; a whole number from 0 to 15",
    ],
    [
      "replicas: {maxLagBytes: 9007199254740993}",
      "replicas.maxLagBytes (line 1): 9007199254740992 is not allowed; a whole number from 1",
    ],
    [
      "network: {cidr: 10.0.0.0/8}",
      'network.cidr (line 1): "10.0.0.0/8" is not allowed; an IPv4 range from /16 to /24 without host bits, such as 10.20.0.0/16',
    ],
    [
      "notifications: {page: [a@b.example, {}]}",
      "notifications.page[1] (line 1): a mapping is not allowed; an e-mail address",
    ],
    ["database: {name: 5}", "database.name (line 1): 5 is not allowed; a text of 1 to 63 bytes"],
    ["database:\n  name:\n", "database.name (line 2): nothing is not allowed; a text of 1 to 63 bytes"],
    [
      `database: {name: ${"é".repeat(32)}}`,
      `database.name (line 1): "${"é".repeat(32)}" is not allowed; a text of 1 to 63 bytes`,
    ],
  ])("of values: %s", (text, message) => {
    expect(messageOf(text)).toBe(`pgkeep.yaml has a problem:\n  ${message}`);
  });

  it("never repeat what looks secret", () => {
    const { problems } = checkConfig(
      `password: hunter2
database: {name: 5, masterPassword: hunter2}
databases:
  token: hunter2
  shop: {roles: {prefix: "postgres://alice:hunter2@db.example/x?${"y".repeat(80)}"}}
  my-secret: [hunter2]
backups: {window: "postgres://alice:p/hunter2 @x@db.example/x"}
`,
      { now },
    );
    expect(problems.length).toBeGreaterThan(5);
    expect(JSON.stringify(problems)).not.toContain("hunter2");
    expect(problems.find(({ path }) => path === "databases.token")?.given ?? "").not.toContain("hunter");
  });

  it("show neither control characters nor endless values", () => {
    const { problems } = checkConfig(
      `database: {topology: "\\e[31m\\u202e${"long".repeat(1000)}"}\n"\\e[2J": 1\n"${"k".repeat(500)}": 1\n`,
      { now },
    );
    expect(problems).toHaveLength(3);
    const text = problems.map(({ path, message }) => `${path} ${message}`).join(" ");
    expect(text).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(text.length).toBeLessThan(1500);
  });

  it("in great number are cut in the message and complete as data", () => {
    const text = Array.from({ length: 60 }, (_, index) => `key${index}: 1`).join("\n");
    expect(messageOf(text).split("\n")).toHaveLength(52);
    expect(messageOf(text)).toMatch(/^pgkeep\.yaml has 60 problems:\n.*\n {2}… and 10 more$/s);
    expect(checkConfig(text).problems).toHaveLength(60);
  });
});

describe("hostile keys", () => {
  it.each(["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "valueOf"])(
    "treats %s as any other unknown key, everywhere",
    (key) => {
      const { problems } = checkConfig(
        `${key}: {polluted: true}\nbackups:\n  ${key}: {polluted: true}\ndatabases:\n  shop:\n    ${key}: {polluted: true}\n`,
        { now },
      );
      expect(problems.map(({ rule, path }) => [rule, path])).toEqual([
        ["unknown-key", key],
        ["unknown-key", `backups.${key}`],
        ["unknown-key", `databases.shop.${key}`],
      ]);
      expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    },
  );

  it("does not take __proto__ for a database", () => {
    const { problems } = checkConfig("databases: {__proto__: {replicas: {count: 1}}}", { now });
    expect(problems.map(({ path }) => path)).toEqual(["databases.__proto__"]);
  });

  it("takes a database called constructor as it is", () => {
    expect(parse("databases: {constructor: {}}").databases.map(({ key }) => key)).toEqual(["constructor"]);
  });
});

describe("the key made from a database's name", () => {
  it.each([
    ["app", "app"],
    ["Shop_EU", "shop-eu"],
    ["7 wonders", "db-7-wonders"],
    ["数据", "db"],
    ["--", "db"],
    ["Größe", "gro-e"],
    ["a".repeat(63), "a".repeat(40)],
    [`${"a".repeat(39)}-b`, "a".repeat(39)],
  ])("of %s is %s", (name, key) => {
    expect(databaseKeySchema.safeParse(databaseKey(name)).success).toBe(true);
    if (name !== "Größe") expect(databaseKey(name)).toBe(key);
  });
});

describe("the file", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "pgkeep-config-"));
  });
  afterEach(async () => {
    await rm(directory, { recursive: true });
  });

  it("may be missing when it was not named", async () => {
    expect(await loadConfig(undefined, directory)).toEqual(defaultConfig());
  });

  it("is pgkeep.yaml in the directory when it was not named", async () => {
    await writeFile(join(directory, "pgkeep.yaml"), "replicas: {count: 5}");
    expect((await loadConfig(undefined, directory)).databases[0]?.replicas.count).toBe(5);
  });

  it("is found relative to the directory, or by an absolute path", async () => {
    await writeFile(join(directory, "other.yaml"), "replicas: {count: 6}");
    expect((await loadConfig("other.yaml", directory)).databases[0]?.replicas.count).toBe(6);
    expect((await loadConfig(join(directory, "other.yaml"), "/")).databases[0]?.replicas.count).toBe(6);
  });

  it.each([
    ["missing.yaml", "the configuration file missing.yaml does not exist"],
    ["pgkeep.yaml", "the configuration file pgkeep.yaml does not exist"],
    [".", "the configuration file . is a directory"],
    ["text.yaml/x", "the configuration file text.yaml/x does not exist"],
    ["latin1.yaml", "the configuration file latin1.yaml is not UTF-8 text"],
    ["", "the configuration file  has no valid name"],
    ["a\0b", "the configuration file a\0b has no valid name"],
  ])("%j that was named and cannot be used is an error", async (file, message) => {
    await writeFile(join(directory, "text.yaml"), "");
    await writeFile(join(directory, "latin1.yaml"), Buffer.from([0x23, 0xe9, 0x0a]));
    await expect(loadConfig(file, directory)).rejects.toThrow(
      expect.objectContaining({ message, code: "configuration", remedy: expect.any(String) }),
    );
    await expect(loadConfig(file, directory)).rejects.toBeInstanceOf(UsageError);
  });

  it.skipIf(process.getuid?.() === 0)("that may not be read is an error", async () => {
    await writeFile(join(directory, "closed.yaml"), "");
    await chmod(join(directory, "closed.yaml"), 0);
    await expect(loadConfig("closed.yaml", directory)).rejects.toThrow(/cannot be read \(EACCES\)/);
  });

  it("is named in the message of its problems", async () => {
    await writeFile(join(directory, "pgkeep.yaml"), "replica: 1");
    await expect(loadConfig(undefined, directory)).rejects.toThrow(/^pgkeep\.yaml has a problem:/);
  });
});
