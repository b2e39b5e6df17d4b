import type { DatabaseConfig } from "../config/schema.ts";
import type { ProxyMeasurements } from "../ports/proxy-metrics.ts";
import { durationText } from "../words.ts";
import { type PoolFinding, worstFirst } from "./findings.ts";

/** What the proxy's limits are; all of them are of the configuration. */
export interface ProxyLimits {
  /** `pooling.borrowTimeoutSeconds` */
  borrowTimeoutSeconds: number;
  /** `health.connectionsPercent` */
  usedPercent: number;
}

export function proxyLimits({ pooling, health }: Pick<DatabaseConfig, "pooling" | "health">): ProxyLimits {
  return { borrowTimeoutSeconds: pooling.borrowTimeoutSeconds, usedPercent: health.connectionsPercent };
}

/** Shares below this many connections say nothing (as the alarm `proxy-pinned`). */
const fewConnections = 5;
/** As the alarm `proxy-pinned`. */
const pinnedPercentLimit = 50;

/** What is wrong with the proxy, the worst first; by its alarms' thresholds. */
export function proxyFindings(measured: ProxyMeasurements, limits: ProxyLimits): PoolFinding[] {
  const { databaseConnections: open, maxDatabaseConnections: max, pinned } = measured.latest;
  const found: (PoolFinding | undefined)[] = [
    unavailable(measured),
    saturated(measured, limits),
    slowBorrowing(measured, limits),
    pinned !== null && open !== null && open >= fewConnections && (100 * pinned) / open >= pinnedPercentLimit
      ? {
          kind: "pinned",
          key: "pinned",
          severity: "medium",
          title: `${pinned} of ${open} database connections are pinned to one client`,
          evidence: { pinned, databaseConnections: open, maxDatabaseConnections: max },
          impact: "A pinned connection is lost to all other clients until its client leaves.",
          remedy: [
            "avoid SET, named prepared statements, temporary tables, session advisory locks and statements over 16 KB through the proxy; the proxy's log names the reason",
            "let what needs its session connect directly",
          ],
        }
      : undefined,
  ];
  return worstFirst(found.filter((one) => one !== undefined));
}

function unavailable({ latest: { availabilityPercent } }: ProxyMeasurements): PoolFinding | undefined {
  if (availabilityPercent === null || availabilityPercent >= 100) return undefined;
  return {
    kind: "unavailable",
    key: "unavailable",
    severity: availabilityPercent < 50 ? "critical" : "high",
    title: `the proxy reached the writer in ${Math.round(availabilityPercent)} % of its attempts`,
    evidence: { availabilityPercent },
    impact: "To applications that connect through it, the database is down for the rest of the time.",
    remedy: ["look at `aws rds describe-db-proxy-targets`: it says why (security groups, secret, failover)"],
  };
}

function saturated({ latest }: ProxyMeasurements, { usedPercent }: ProxyLimits): PoolFinding | undefined {
  const { databaseConnections: open, borrowed, maxDatabaseConnections: max } = latest;
  if (open === null || max === null || max <= 0) return undefined;
  // Idle connections can be borrowed yet; those in use cannot.
  const used = borrowed ?? open;
  const percent = (100 * used) / max;
  if (percent < usedPercent) return undefined;
  return {
    kind: "pool-saturated",
    key: "pool-saturated",
    severity: used >= max ? "critical" : "high",
    title: `${used} of the ${max} database connections that the proxy may have are ${borrowed === null ? "open" : "borrowed"}`,
    evidence: {
      borrowed,
      databaseConnections: open,
      maxDatabaseConnections: max,
      percent: Math.round(percent),
    },
    impact: "Clients wait for a connection, and fail after pooling.borrowTimeoutSeconds.",
    remedy: [
      "end long transactions and idle ones: `pgkeep health` names them",
      "raise pooling.poolSize, as far as max_connections of the database allows",
    ],
  };
}

/** The alarm's threshold: a hundredth of the time after which a client gets an error. */
function slowBorrowing(
  { latest: { borrowLatencySeconds }, worst }: ProxyMeasurements,
  { borrowTimeoutSeconds }: ProxyLimits,
): PoolFinding | undefined {
  if (borrowLatencySeconds === null || borrowLatencySeconds <= borrowTimeoutSeconds / 100) return undefined;
  return {
    kind: "borrow-latency",
    key: "borrow-latency",
    severity: borrowLatencySeconds >= borrowTimeoutSeconds / 2 ? "critical" : "high",
    title: `clients wait ${milliseconds(borrowLatencySeconds)} on average for a database connection`,
    evidence: {
      borrowLatencySeconds,
      worstBorrowLatencySeconds: worst.borrowLatencySeconds,
      borrowTimeoutSeconds,
    },
    impact: `The wait comes on top of each transaction; after ${durationText(borrowTimeoutSeconds)} the client gets an error.`,
    remedy: [
      "see whether the pool is used up or pinned; else opening connections is slow: look at the database's CPU",
    ],
  };
}

export function milliseconds(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 10_000) / 10} ms` : durationText(seconds);
}
