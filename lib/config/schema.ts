import { z } from "zod";

/** Longest name that PostgreSQL keeps whole (NAMEDATALEN − 1), in bytes. */
export const identifierBytes = 63;

/** What a setting allows, in words, where its type alone does not say it. Error messages and the reference use it. */
export const allowedTexts = z.registry<{ text: string }>();

/** A text with a form of its own; `allowed` says in words which. */
const form = (pattern: RegExp, allowed: string) =>
  z.string().max(200).regex(pattern).register(allowedTexts, { text: allowed });

const databaseName = z
  .string()
  .min(1)
  .refine((name) => Buffer.byteLength(name) <= identifierBytes && !name.includes("\0"))
  .register(allowedTexts, { text: `a text of 1 to ${identifierBytes} bytes` });

/** Lower-case words joined by hyphens, as RDS identifiers must be. */
const resourceName = z
  .string()
  .max(40)
  .regex(/^[a-z](?:-?[a-z0-9])*$/)
  .register(allowedTexts, {
    text: "at most 40 lower-case letters, digits and single hyphens, beginning with a letter",
  });

const whole = (min: number, max?: number) => {
  const number = z.number().int().min(min);
  return max === undefined ? number : number.max(max);
};
const seconds = (limits: { min: number; max: number }) => whole(limits.min, limits.max);
const percent = z.number().min(0).max(100);
/** Five cron fields in `schedules.timeZone`, or `off`. */
const cron = z
  .union([
    z.literal("off"),
    z
      .string()
      .max(200)
      .regex(/^\S+(?: \S+){4}$/),
  ])
  .register(allowedTexts, { text: 'five cron fields such as "*/5 * * * *", or off' });
const cidr = z
  .string()
  .refine(isNetworkRange)
  .register(allowedTexts, { text: "an IPv4 range from /16 to /24 without host bits, such as 10.20.0.0/16" });

/** VPCs are /28 to /16; smaller than /24 leaves no room for a subnet of each kind in three zones. */
function isNetworkRange(text: string): boolean {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(text);
  if (match === null) return false;
  const [a = 0, b = 0, c = 0, d = 0, bits = 0] = match.slice(1).map(Number);
  if ([a, b, c, d].some((octet) => octet > 255) || bits < 16 || bits > 24) return false;
  return (c * 256 + d) % 2 ** (32 - bits) === 0;
}

const timeOfDay = "(?:[01]\\d|2[0-3]):[0-5]\\d";
const weekday = "(?:mon|tue|wed|thu|fri|sat|sun)";

const database = z
  .strictObject({
    name: databaseName.default("app").describe("Name of the database in PostgreSQL"),
    topology: z
      .enum(["instance", "multi-az-cluster", "aurora"])
      .default("instance")
      .describe("RDS instance with Multi-AZ standby, RDS Multi-AZ DB cluster, or Aurora PostgreSQL"),
    engineVersion: z
      .preprocess(
        (given) => (typeof given === "number" ? String(given) : given),
        z.enum(["14", "15", "16", "17", "18"]),
      )
      .default("17")
      .describe("Major version of PostgreSQL; minors follow by themselves"),
    instanceClass: form(
      /^(?:[a-z]+\d[a-z0-9]*\.[a-z0-9]+|serverless)$/,
      "an instance class without db., such as m7g.large, or serverless",
    )
      .default("m7g.large")
      .describe(
        "RDS instance class without the db. prefix; `serverless` for Aurora serverless v2. Where the topology cannot have the default: r7g.large (aurora), m6gd.large (multi-az-cluster)",
      ),
    storageGigabytes: whole(20, 65_536).default(100).describe("Allocated storage; Aurora allocates its own"),
    maxStorageGigabytes: whole(20, 65_536)
      .default(500)
      .describe("Upper end of storage autoscaling; the same as storageGigabytes switches autoscaling off"),
    maxConnections: whole(20, 10_000)
      .optional()
      .describe("max_connections; by default what the instance class gives"),
    serverless: z
      .strictObject({
        minCapacityUnits: z
          .number()
          .min(0.5)
          .max(256)
          .multipleOf(0.5)
          .default(2)
          .register(allowedTexts, { text: "a multiple of 0.5 from 0.5 to 256" })
          .describe("Capacity units, of 2 GiB each, that are always there"),
        maxCapacityUnits: z
          .number()
          .min(1)
          .max(256)
          .multipleOf(0.5)
          .default(16)
          .register(allowedTexts, { text: "a multiple of 0.5 from 1 to 256" })
          .describe("Capacity units up to which it grows; the parameters are sized for them"),
      })
      .prefault({}),
    deletionProtection: z
      .boolean()
      .default(true)
      .describe("Whether AWS refuses to delete the database until this is switched off"),
  })
  .meta({ id: "database", description: "What the database is and what it runs on" });

const replicas = z
  .strictObject({
    count: whole(0, 15)
      .default(2)
      .describe("Read replicas in the region; a multi-az-cluster has exactly two"),
    maxCount: whole(1, 15)
      .optional()
      .describe("Aurora only: autoscaling adds readers up to this many; by default there is no autoscaling"),
    maxLagSeconds: seconds({ min: 1, max: 3600 })
      .default(120)
      .describe("A replica behind by more stops serving reads"),
    resumeLagSeconds: seconds({ min: 0, max: 3600 })
      .default(30)
      .describe("It serves again when it is behind by no more than this"),
    maxLagBytes: whole(1)
      .default(268_435_456)
      .describe("A replica behind by more bytes of WAL stops serving reads"),
    resumeLagBytes: whole(0)
      .default(67_108_864)
      .describe("It serves again when it is behind by no more bytes of WAL than this"),
    warmUpSeconds: seconds({ min: 0, max: 3600 })
      .default(60)
      .describe("A replica that came back must be well for this long before it serves"),
    primaryServesReads: z
      .enum(["never", "last-resort", "always"])
      .default("last-resort")
      .describe("Whether reads may go to the primary: never, when no replica serves, or always"),
  })
  .meta({ id: "replicas", description: "Read replicas, and when they may serve reads" });

const pooling = z
  .strictObject({
    enabled: z.boolean().default(true).describe("Whether a pooler stands before the database"),
    mode: z
      .enum(["transaction", "session"])
      .default("transaction")
      .describe(
        "When a server connection goes back to the pool: after each transaction, or when the client leaves",
      ),
    poolSize: whole(1, 5_000).default(20).describe("Server connections for each user and database"),
    reservePoolSize: whole(0, 1_000)
      .default(5)
      .describe("Further server connections for when clients have to wait"),
    maxClientConnections: whole(1, 100_000)
      .default(1_000)
      .describe("Clients that the pooler accepts at the same time"),
    borrowTimeoutSeconds: seconds({ min: 1, max: 300 })
      .default(30)
      .describe("How long a client waits for a server connection"),
    idleTimeoutSeconds: seconds({ min: 1, max: 86_400 })
      .default(600)
      .describe("A server connection that nobody used for this long is closed"),
  })
  .meta({ id: "pooling", description: "The connection pooler before the database" });

const backups = z
  .strictObject({
    pointInTimeRecoveryDays: whole(1, 35).default(14).describe("How far back every moment can be restored"),
    keepDaily: whole(1, 100).default(7).describe("The newest backup of each of the last days with one"),
    keepWeekly: whole(0, 100).default(4).describe("The newest backup of each of the last ISO weeks with one"),
    keepMonthly: whole(0, 100).default(12).describe("The newest backup of each of the last months with one"),
    window: form(new RegExp(`^${timeOfDay}-${timeOfDay}$`), "a UTC window such as 03:00-03:30")
      .default("03:00-03:30")
      .describe("AWS's own backup window, UTC"),
    copyToRegions: z
      .array(form(/^[a-z]{2}(?:-[a-z]+)+-\d$/, "a region such as eu-west-1"))
      .max(20)
      .default([])
      .describe("Regions that get a copy of each backup"),
    manifest: z
      .strictObject({
        budgetSeconds: seconds({ min: 1, max: 3600 })
          .default(30)
          .describe("Time for counting and hashing tables when a backup is taken"),
        hashTablesUpToBytes: whole(0)
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
  })
  .meta({
    id: "backups",
    description: "How often, how long and where backups are kept, and how restoring is tried",
  });

const maintenance = z
  .strictObject({
    window: form(
      new RegExp(`^${weekday}:${timeOfDay}-${weekday}:${timeOfDay}$`),
      "a UTC window such as sun:04:00-sun:05:00",
    )
      .default("sun:04:00-sun:05:00")
      .describe("AWS's maintenance window, UTC"),
    vacuum: z
      .strictObject({
        budgetSeconds: seconds({ min: 1, max: 86_400 })
          .default(600)
          .describe("Time for one run; no table is started that would not fit"),
        lockTimeoutSeconds: seconds({ min: 1, max: 60 })
          .default(2)
          .describe("A table whose lock does not come within this time is skipped, and said so"),
        threshold: z
          .number()
          .min(0.05)
          .max(10)
          .default(0.8)
          .describe("A table is due when a counter reaches this share of its own autovacuum trigger"),
      })
      .prefault({}),
  })
  .meta({ id: "maintenance", description: "Vacuuming, and when AWS may work on the database" });

const health = z
  .strictObject({
    connectionsPercent: percent
      .default(90)
      .describe("A finding when more than this share of max_connections is in use"),
    longQueryWarnSeconds: seconds({ min: 1, max: 86_400 })
      .default(30)
      .describe("A query that runs for longer is a warning"),
    longQueryTicketSeconds: seconds({ min: 1, max: 86_400 })
      .default(300)
      .describe("A query that runs for longer is a ticket"),
    idleInTransactionSeconds: seconds({ min: 1, max: 86_400 })
      .default(60)
      .describe("A transaction that does nothing for longer is a finding"),
    blockedSeconds: seconds({ min: 1, max: 86_400 })
      .default(10)
      .describe("A session that waits for a lock for longer is a finding"),
    cacheHitPercent: percent
      .default(90)
      .describe("A finding when fewer reads than this share are served from shared buffers"),
    slotRetainedBytes: whole(1)
      .default(10_737_418_240)
      .describe("A finding when a replication slot holds back more WAL than this"),
  })
  .meta({ id: "health", description: "Limits of the health check" });

const roles = z
  .strictObject({
    prefix: databaseName
      .optional()
      .describe(
        "The roles are named <prefix>_owner, _reader, _writer, _app, _reporting and _migrations; by default the database's name",
      ),
    logins: z
      .enum(["password", "iam"])
      .default("password")
      .describe(
        "On AWS, how the application, reporting and migrations log in to the database: with passwords that are kept in Secrets Manager and rotated, or with IAM tokens, end to end through the pooler",
      ),
    application: z
      .strictObject({
        statementTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(30)
          .describe("A statement of the application is cancelled after this"),
        lockTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(5)
          .describe("A wait of the application for a lock is given up after this"),
        idleInTransactionTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(60)
          .describe("An application's session that is idle in a transaction for longer is ended"),
        connectionLimit: whole(-1, 10_000)
          .default(-1)
          .describe("Connections of the application role at the same time; -1 for no limit"),
      })
      .prefault({}),
    reporting: z
      .strictObject({
        statementTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(300)
          .describe("A report is cancelled after this"),
        lockTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(5)
          .describe("A report's wait for a lock is given up after this"),
        idleInTransactionTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(300)
          .describe("A reporting session that is idle in a transaction for longer is ended"),
        connectionLimit: whole(-1, 10_000)
          .default(20)
          .describe("Connections of the reporting role at the same time; -1 for no limit"),
      })
      .prefault({}),
    migrations: z
      .strictObject({
        lockTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(5)
          .describe("A migration's wait for a lock is given up after this, so that nobody queues behind it"),
        idleInTransactionTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(300)
          .describe("A migration's session that is idle in a transaction for longer is ended"),
      })
      .prefault({}),
  })
  .meta({ id: "roles", description: "Roles in PostgreSQL and their limits" });

const alarms = z
  .strictObject({
    enabled: z.boolean().default(true).describe("Whether alarms are made"),
    transactionIdsPage: whole(200_000_000, 2_000_000_000)
      .default(1_000_000_000)
      .describe(
        "Age of the oldest transaction id at which a page is sent; PostgreSQL stops near 2.1 billion",
      ),
    transactionIdsTicket: whole(200_000_000, 2_000_000_000)
      .default(500_000_000)
      .describe("Age of the oldest transaction id at which a ticket is written"),
    cpuPercent: percent.default(90).describe("Average CPU use above which a page is sent"),
    freeStoragePercent: percent
      .default(10)
      .describe(
        "Free storage, of storageGigabytes, at or below which a page is sent; half of it while storage may grow by itself",
      ),
    replicaLagSeconds: seconds({ min: 1, max: 86_400 })
      .default(60)
      .describe("Replica lag above which a page is sent"),
  })
  .meta({ id: "alarms", description: "Limits of the alarms" });

const network = z
  .strictObject({
    cidr: cidr.default("10.20.0.0/16").describe("Addresses of the VPC that is made"),
    availabilityZones: whole(2, 3).default(3).describe("Zones that get a subnet of each kind"),
    existingVpcId: form(/^vpc-[0-9a-f]{8,17}$/, "an id such as vpc-0123456789abcdef0")
      .optional()
      .describe("Use this VPC instead of making one"),
    existingSubnetIds: z
      .array(form(/^subnet-[0-9a-f]{8,17}$/, "an id such as subnet-0123456789abcdef0"))
      .max(6)
      .default([])
      .describe("Isolated subnets of that VPC, each in a zone of its own"),
    existingEndpointSecurityGroupId: form(/^sg-[0-9a-f]{8,17}$/, "an id such as sg-0123456789abcdef0")
      .optional()
      .describe(
        "Security group of an endpoint for Secrets Manager that the VPC already has; without it one is made",
      ),
  })
  .meta({ id: "network", description: "The network that the databases live in" });

const emailAddress = z.email().register(allowedTexts, { text: "an e-mail address" });

const notifications = z
  .strictObject({
    page: z.array(emailAddress).max(10).default([]).describe("Who is woken"),
    ticket: z.array(emailAddress).max(10).default([]).describe("Who is told in office hours"),
  })
  .meta({ id: "notifications", description: "Who is told by e-mail" });

const account = z
  .strictObject({
    manualSnapshotsPerRegion: whole(1, 100_000)
      .default(100)
      .describe(
        "The account's quota of manual snapshots in a region, for instances and for clusters each; raise it here once AWS has raised it",
      ),
  })
  .meta({ id: "account", description: "Quotas of the AWS account" });

const schedules = z
  .strictObject({
    timeZone: z
      .string()
      .refine(isTimeZone)
      .register(allowedTexts, { text: "an IANA time zone such as Europe/Berlin" })
      .default("UTC")
      .describe("Time zone of the cron fields below"),
    "check-health": cron.optional().describe("When the health check runs; by default each minute"),
    "route-replicas": cron
      .optional()
      .describe("When the routing document is published; by default each minute"),
    "back-up": cron.optional().describe("When a backup is taken and old ones are pruned; by default daily"),
    "drill-restore": cron.optional().describe("When the restore drill runs; by default monthly"),
    vacuum: cron.optional().describe("When tables are vacuumed by need; by default daily"),
  })
  .meta({ id: "schedules", description: "When each job runs: five cron fields, or off" });

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
export const sharedSections = { network, notifications, account } as const;

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

/** The sections that the file has once, with every default filled in. */
export const sharedConfigSchema = z.strictObject({
  network: network.prefault({}),
  notifications: notifications.prefault({}),
  account: account.prefault({}),
});

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
  account: z.output<typeof account>;
}
