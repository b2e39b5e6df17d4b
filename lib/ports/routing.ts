import type { Endpoint } from "./databases.ts";

/** Where one server stands as a target for reads. */
export type ReplicaState = "serving" | "lagging" | "warming" | "unreachable";

export interface RoutedReplica {
  name: string;
  /** Where applications should connect now. */
  endpoint: Endpoint;
  /** Whether that endpoint is the pooler's or the server's own. */
  via: "pooler" | "direct";
  state: ReplicaState;
  /** One sentence for people: why it is in this state. */
  reason: string;
  /** Bytes of WAL the primary has written and this replica has not replayed; null when unknown. */
  lagBytes: number | null;
  /** Age of the last replayed transaction while WAL is outstanding, 0 when caught up; null when unknown. */
  lagSeconds: number | null;
  /**
   * When it last was seen to have replayed all that the primary had written (ISO 8601): while it lags, no
   * row of it is staler than this. Null when it never was.
   */
  caughtUpAt: string | null;
  /** Share of reads in percent; above 0 only for `serving`, 100 over all of them. */
  weight: number;
  /** When it entered this state (ISO 8601). */
  since: string;
}

/**
 * Tells applications which endpoints may serve reads now, and why. Published whole, and never empty: it
 * names the primary and every replica, whatever their state.
 */
export interface RoutingDocument {
  formatVersion: 1;
  /** The database's key in the configuration. */
  database: string;
  /** Which cluster this is about (`pg_control_system`), so that a replica of another never serves. */
  systemIdentifier: string | null;
  /** 1 for the first publication, and one more with each. */
  version: number;
  /** ISO 8601. */
  publishedAt: string;
  /** A reader that finds an older document than this should distrust it. */
  validForSeconds: number;
  /**
   * `kept`: no server could be probed, so the previous decision stands (reported, never published: an
   * ageing document tells its readers more than a fresh copy). `assumed`: the same with nothing to keep.
   */
  basis: "probed" | "kept" | "assumed";
  reason: string;
  primary: {
    endpoint: Endpoint;
    via: "pooler" | "direct";
    reachable: boolean;
    /** True when reads may fall back to the primary now. */
    servesReads: boolean;
    reason: string;
  };
  replicas: RoutedReplica[];
}

export interface Routing {
  /** The published document, or undefined when there is none yet. @throws PgkeepError `internal` when it is damaged */
  read(): Promise<RoutingDocument | undefined>;
  /**
   * Replaces the document atomically, when the published version is still `expectedVersion`
   * (`undefined`: when there is none). Resolves to false when somebody else was faster.
   * @throws PgkeepError `internal` when the document's version is not the one after `expectedVersion`
   */
  publish(document: RoutingDocument, expectedVersion: number | undefined): Promise<boolean>;
}
