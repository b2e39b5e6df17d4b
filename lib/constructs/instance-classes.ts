import type { DatabaseConfig } from "../config/schema.ts";
import { UsageError } from "../errors.ts";

const gibibyte = 1024 ** 3;

/** Memory of one Aurora capacity unit (Aurora User Guide, Aurora Serverless v2 capacity). */
const capacityUnitBytes = 2 * gibibyte;

/** What RDS divides the memory of a class by for its default max_connections, and where it stops. */
const bytesPerConnection = 9_531_392;
const mostDefaultConnections = 5_000;

/** GiB of memory for each vCPU, by the letters a family's name begins with; longer beginnings first. */
const memoryPerCpu: readonly (readonly [family: RegExp, gibibytes: number])[] = [
  [/^x2ie/, 32],
  [/^x2/, 16],
  [/^[rz]\d/, 8],
  [/^m\d/, 4],
  [/^c\d/, 2],
];

/** The burstable families do not grow in proportion: vCPUs and GiB by size. */
const burstable: Readonly<Record<string, readonly [cpus: number, gibibytes: number]>> = {
  micro: [2, 1],
  small: [2, 2],
  medium: [2, 4],
  large: [2, 8],
  xlarge: [4, 16],
  "2xlarge": [8, 32],
};

export interface Capacity {
  cpus: number;
  memoryBytes: number;
}

/**
 * vCPUs and memory of the class that a database runs on; of Aurora Serverless, at its upper end. Derived from the
 * rule that AWS's families follow: so much memory for each vCPU, two vCPUs for `large` and double for each size
 * above (Amazon RDS User Guide, Hardware specifications for DB instance classes).
 * @throws UsageError for a family or size that is not known
 */
export function capacityOf({ database }: DatabaseConfig): Capacity {
  if (database.instanceClass === "serverless") {
    const units = database.serverless.maxCapacityUnits;
    return { cpus: Math.max(1, Math.ceil(units / 4)), memoryBytes: units * capacityUnitBytes };
  }
  const [family = "", size = ""] = database.instanceClass.split(".");
  const capacity = /^t\d/.test(family) ? burstableCapacity(size) : proportionalCapacity(family, size);
  if (capacity === undefined) {
    throw new UsageError(
      `database.instanceClass: the memory of ${database.instanceClass} is not known, so its parameters cannot be sized`,
      {
        remedy:
          "choose a class of a family t, m, c, r, x2 or z1d and of a size from micro to 32xlarge, such as m7g.large or r7g.2xlarge",
      },
      "configuration",
    );
  }
  return capacity;
}

function burstableCapacity(size: string): Capacity | undefined {
  const known = Object.hasOwn(burstable, size) ? burstable[size] : undefined;
  return known === undefined ? undefined : { cpus: known[0], memoryBytes: known[1] * gibibyte };
}

function proportionalCapacity(family: string, size: string): Capacity | undefined {
  const ratio = memoryPerCpu.find(([pattern]) => pattern.test(family))?.[1];
  const cpus = cpusOf(size);
  return ratio === undefined || cpus === undefined
    ? undefined
    : { cpus, memoryBytes: cpus * ratio * gibibyte };
}

function cpusOf(size: string): number | undefined {
  if (size === "medium") return 1;
  if (size === "large") return 2;
  const times = /^(\d{0,2})xlarge$/.exec(size)?.[1];
  return times === undefined ? undefined : 4 * (times === "" ? 1 : Number(times));
}

/**
 * max_connections in effect: what the configuration asks for, else what RDS gives the class,
 * LEAST({DBInstanceClassMemory/9531392}, 5000). DBInstanceClassMemory is a little below the class's memory, so
 * this is the upper end.
 */
export function maxConnectionsOf(config: DatabaseConfig): number {
  return config.database.maxConnections ?? defaultMaxConnections(config);
}

/** What RDS gives the class when nobody asks. */
export function defaultMaxConnections(config: DatabaseConfig): number {
  return Math.min(Math.floor(capacityOf(config).memoryBytes / bytesPerConnection), mostDefaultConnections);
}

/** The most connections for which the class has memory, by RDS's own measure. */
export function affordableConnections(config: DatabaseConfig): number {
  return Math.floor(capacityOf(config).memoryBytes / bytesPerConnection);
}
