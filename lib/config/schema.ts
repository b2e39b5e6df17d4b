import { z } from "zod";

/** Longest name that PostgreSQL keeps whole (NAMEDATALEN − 1), in bytes. */
const identifierBytes = 63;

const databaseName = z
  .string()
  .min(1)
  .refine((name) => Buffer.byteLength(name) <= identifierBytes, {
    error: `a name of at most ${identifierBytes} bytes`,
  })
  .refine((name) => !name.includes("\0"), { error: "a name without NUL bytes" });

/** Lower-case words joined by hyphens, as RDS identifiers must be. */
const resourceName = z
  .string()
  .regex(/^[a-z](?:-?[a-z0-9])*$/, {
    error: "lower-case letters, digits and single hyphens, beginning with a letter",
  })
  .max(40);

const seconds = (limits: { min: number; max: number }) => z.number().int().min(limits.min).max(limits.max);
const percent = z.number().min(0).max(100);
/** Five cron fields in `schedules.timeZone`, or `off`. */
const cron = z.union([
  z.literal("off"),
  z.string().regex(/^\S+(?: \S+){4}$/, { error: "five cron fields, or off" }),
]);
const cidr = z
  .string()
  .regex(/^\d{1,3}(?:\.\d{1,3}){3}\/\d{1,2}$/, { error: "an IPv4 range such as 10.20.0.0/16" });

const database = z.strictObject({
  name: databaseName.default("app").describe("Name of the database in PostgreSQL"),
  topology: z
    .enum(["instance", "multi-az-cluster", "aurora"])
    .default("instance")
    .describe("RDS instance with Multi-AZ standby, RDS Multi-AZ DB cluster, or Aurora PostgreSQL"),
  engineVersion: z
    .enum(["14", "15", "16", "17", "18"])
    .default("17")
    .describe("Major version of PostgreSQL; minors follow by themselves"),
  instanceClass: z
    .string()
    .regex(/^(?:[a-z]+\d[a-z0-9]*\.[a-z0-9]+|serverless)$/, {
      error: "an instance class such as m7g.large, or serverless",
    })
    .default("m7g.large")
    .describe("RDS instance class without the db. prefix; `serverless` for Aurora serverless v2"),
  storageGigabytes: z.number().int().min(20).max(65_536).default(100).describe("Allocated storage"),
  maxStorageGigabytes: z
    .number()
    .int()
    .min(20)
    .max(65_536)
    .default(500)
    .describe("Upper end of storage autoscaling"),
  maxConnections: z
    .number()
    .int()
    .min(20)
    .max(10_000)
    .optional()
    .describe("max_connections; by default what the instance class gives"),
  deletionProtection: z.boolean().default(true),
});

const replicas = z.strictObject({
  count: z.number().int().min(0).max(15).default(2).describe("Read replicas in the region"),
  maxLagSeconds: seconds({ min: 1, max: 3600 })
    .default(120)
    .describe("A replica behind by more stops serving reads"),
  resumeLagSeconds: seconds({ min: 0, max: 3600 })
    .default(30)
    .describe("It serves again when it is behind by no more than this"),
  maxLagBytes: z
    .number()
    .int()
    .min(1)
    .default(268_435_456)
    .describe("A replica behind by more bytes of WAL stops serving reads"),
  resumeLagBytes: z.number().int().min(0).default(67_108_864),
  warmUpSeconds: seconds({ min: 0, max: 3600 })
    .default(60)
    .describe("A replica that came back must be well for this long before it serves"),
  primaryServesReads: z
    .enum(["never", "last-resort", "always"])
    .default("last-resort")
    .describe("Whether reads may go to the primary: never, when no replica serves, or always"),
});

const pooling = z.strictObject({
  enabled: z.boolean().default(true),
  mode: z.enum(["transaction", "session"]).default("transaction"),
  poolSize: z
    .number()
    .int()
    .min(1)
    .max(5_000)
    .default(20)
    .describe("Server connections for each user and database"),
  reservePoolSize: z.number().int().min(0).max(1_000).default(5),
  maxClientConnections: z.number().int().min(1).max(100_000).default(1_000),
  borrowTimeoutSeconds: seconds({ min: 1, max: 300 })
    .default(30)
    .describe("How long a client waits for a server connection"),
  idleTimeoutSeconds: seconds({ min: 1, max: 86_400 }).default(600),
});

const backups = z.strictObject({
  pointInTimeRecoveryDays: z.number().int().min(1).max(35).default(14),
  keepDaily: z
    .number()
    .int()
    .min(1)
    .max(100)
    .default(7)
    .describe("The newest backup of each of the last days with one"),
  keepWeekly: z
    .number()
    .int()
    .min(0)
    .max(100)
    .default(4)
    .describe("The newest backup of each of the last ISO weeks with one"),
  keepMonthly: z
    .number()
    .int()
    .min(0)
    .max(100)
    .default(12)
    .describe("The newest backup of each of the last months with one"),
  window: z
    .string()
    .regex(/^\d{2}:\d{2}-\d{2}:\d{2}$/, { error: "a UTC window such as 03:00-03:30" })
    .default("03:00-03:30")
    .describe("AWS's own backup window, UTC"),
  copyToRegions: z
    .array(z.string().regex(/^[a-z]{2}(?:-[a-z]+)+-\d$/, { error: "a region such as eu-west-1" }))
    .default([]),
  manifest: z
    .strictObject({
      budgetSeconds: seconds({ min: 1, max: 3600 })
        .default(30)
        .describe("Time for counting and hashing tables when a backup is taken"),
      hashTablesUpToBytes: z
        .number()
        .int()
        .min(0)
        .default(67_108_864)
        .describe("Tables up to this size get a content hash"),
    })
    .prefault({}),
  drill: z
    .strictObject({
      target: z
        .enum(["latest", "random"])
        .default("latest")
        .describe("Restore everything, or a random moment of the recovery window"),
      maxRtoSeconds: seconds({ min: 1, max: 86_400 })
        .default(14_400)
        .describe("The drill fails when restoring takes longer"),
      maxRpoSeconds: seconds({ min: 1, max: 86_400 })
        .default(900)
        .describe("The drill fails when more than this would be lost"),
    })
    .prefault({}),
});

const maintenance = z.strictObject({
  window: z
    .string()
    .regex(/^(?:mon|tue|wed|thu|fri|sat|sun):\d{2}:\d{2}-(?:mon|tue|wed|thu|fri|sat|sun):\d{2}:\d{2}$/, {
      error: "a UTC window such as sun:04:00-sun:05:00",
    })
    .default("sun:04:00-sun:05:00")
    .describe("AWS's maintenance window, UTC"),
  vacuum: z
    .strictObject({
      budgetSeconds: seconds({ min: 1, max: 86_400 })
        .default(600)
        .describe("Time for one run; no table is started that would not fit"),
      lockTimeoutSeconds: seconds({ min: 1, max: 60 }).default(2),
      threshold: z
        .number()
        .min(0.05)
        .max(10)
        .default(0.8)
        .describe("A table is due when a counter reaches this share of its own autovacuum trigger"),
    })
    .prefault({}),
});

const health = z.strictObject({
  connectionsPercent: percent.default(90),
  longQueryWarnSeconds: seconds({ min: 1, max: 86_400 }).default(30),
  longQueryTicketSeconds: seconds({ min: 1, max: 86_400 }).default(300),
  idleInTransactionSeconds: seconds({ min: 1, max: 86_400 }).default(60),
  blockedSeconds: seconds({ min: 1, max: 86_400 }).default(10),
  cacheHitPercent: percent.default(90),
  slotRetainedBytes: z.number().int().min(1).default(10_737_418_240),
});

const roles = z.strictObject({
  prefix: databaseName
    .optional()
    .describe("Names of the roles begin with this; by default the database's name"),
  application: z
    .strictObject({
      statementTimeoutSeconds: seconds({ min: 1, max: 86_400 }).default(30),
      lockTimeoutSeconds: seconds({ min: 1, max: 86_400 }).default(5),
      idleInTransactionTimeoutSeconds: seconds({ min: 1, max: 86_400 }).default(60),
      connectionLimit: z.number().int().min(-1).max(10_000).default(-1),
    })
    .prefault({}),
  reporting: z
    .strictObject({
      statementTimeoutSeconds: seconds({ min: 1, max: 86_400 }).default(300),
      lockTimeoutSeconds: seconds({ min: 1, max: 86_400 }).default(5),
      idleInTransactionTimeoutSeconds: seconds({ min: 1, max: 86_400 }).default(300),
      connectionLimit: z.number().int().min(-1).max(10_000).default(20),
    })
    .prefault({}),
  migrations: z
    .strictObject({
      lockTimeoutSeconds: seconds({ min: 1, max: 86_400 }).default(5),
      idleInTransactionTimeoutSeconds: seconds({ min: 1, max: 86_400 }).default(300),
    })
    .prefault({}),
});

const alarms = z.strictObject({
  enabled: z.boolean().default(true),
  transactionIdsPage: z.number().int().min(200_000_000).max(2_000_000_000).default(1_000_000_000),
  transactionIdsTicket: z.number().int().min(200_000_000).max(2_000_000_000).default(500_000_000),
  cpuPercent: percent.default(90),
  freeStoragePercent: percent.default(10),
  replicaLagSeconds: seconds({ min: 1, max: 86_400 }).default(60),
});

const network = z.strictObject({
  cidr: cidr.default("10.20.0.0/16"),
  availabilityZones: z.number().int().min(2).max(3).default(3),
  existingVpcId: z
    .string()
    .regex(/^vpc-[0-9a-f]+$/, { error: "an id such as vpc-0123456789abcdef0" })
    .optional(),
});

const notifications = z.strictObject({
  page: z.array(z.email()).default([]).describe("Who is woken"),
  ticket: z.array(z.email()).default([]).describe("Who is told in office hours"),
});

const schedules = z.strictObject({
  timeZone: z
    .string()
    .refine(isTimeZone, { error: "an IANA time zone such as Europe/Berlin" })
    .default("UTC"),
  "check-health": cron.optional(),
  "route-replicas": cron.optional(),
  "back-up": cron.optional(),
  "drill-restore": cron.optional(),
  vacuum: cron.optional(),
});

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** Sections that each database has; at the top of the file they are the defaults of all. */
export const perDatabaseSections = {
  database,
  replicas,
  pooling,
  backups,
  maintenance,
  health,
  roles,
  alarms,
  schedules,
} as const;

/** Sections that the file has once. */
export const sharedSections = { network, notifications } as const;

/** One database with every default filled in. */
export const databaseConfigSchema = z.strictObject({
  database: database.prefault({}),
  replicas: replicas.prefault({}),
  pooling: pooling.prefault({}),
  backups: backups.prefault({}),
  maintenance: maintenance.prefault({}),
  health: health.prefault({}),
  roles: roles.prefault({}),
  alarms: alarms.prefault({}),
  schedules: schedules.prefault({}),
});

/** Name under `databases:`, part of the names of AWS resources. */
export const databaseKeySchema = resourceName;

type Sections = z.output<typeof databaseConfigSchema>;

/** What a job or a stack is told about one database. */
export interface DatabaseConfig extends Sections {
  /** Its key under `databases:`; without that section, made from the database's name. */
  key: string;
}

export interface Config {
  databases: DatabaseConfig[];
  network: z.output<typeof network>;
  notifications: z.output<typeof notifications>;
}
