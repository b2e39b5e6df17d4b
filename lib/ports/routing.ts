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
  /** Share of reads, 0–100; above 0 only for `serving`. */
  weight: number;
  /** When it entered this state (ISO 8601). */
  since: string;
}

/** Tells applications which endpoints may serve reads now, and why. Published whole, never empty. */
export interface RoutingDocument {
  formatVersion: 1;
  database: string;
  /** Counts up with each publication. */
  version: number;
  /** ISO 8601. */
  publishedAt: string;
  /** A reader that finds an older document than this should distrust it. */
  validForSeconds: number;
  /** `kept`: nothing could be probed, so the previous decision stands. */
  basis: "probed" | "kept";
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
  read(): Promise<RoutingDocument | undefined>;
  /**
   * Replaces the document atomically, when the published version is still `expectedVersion`
   * (`undefined`: when there is none). Resolves to false when somebody else was faster.
   */
  publish(document: RoutingDocument, expectedVersion: number | undefined): Promise<boolean>;
}
