/** Counts are of all nodes of the proxy and all its endpoints together. */
export interface ProxyLevels {
  clientConnections: number | null;
  databaseConnections: number | null;
  /** Database connections that a client has borrowed at the moment. */
  borrowed: number | null;
  /** Database connections that only one client can use until it leaves. */
  pinned: number | null;
  maxDatabaseConnections: number | null;
  /** Mean time that a client waited for a database connection. */
  borrowLatencySeconds: number | null;
  /** Share of the health checks of the writer that went well. */
  availabilityPercent: number | null;
  /** Requests in that minute. */
  queryRequests: number | null;
  clientsSetUp: number | null;
}

/** What was measured of a proxy, minute by minute. Null where nothing was. */
export interface ProxyMeasurements {
  proxy: string;
  region: string;
  /** Begin of the newest minute that has a value. */
  at: Date;
  windowSeconds: number;
  latest: ProxyLevels;
  /** The worst minute of the window: the highest, and the lowest of maximum and availability. */
  worst: ProxyLevels;
}

/** Measurements of the pooling proxy of one database. */
export interface ProxyMetrics {
  /**
   * The last minutes; undefined when nothing was measured in them.
   * @throws PgkeepError `insufficient-privilege`, `authentication`, `unreachable`
   */
  read(now: Date): Promise<ProxyMeasurements | undefined>;
}
