import type { AwsClients } from "./clients.ts";
import { clusterSnapshots } from "./cluster-snapshots.ts";
import { instanceSnapshots } from "./instance-snapshots.ts";
import type { PlatformResources } from "./resources.ts";
import type { Tags } from "./tags.ts";

/** A snapshot of an instance or of a cluster, in one region. */
export interface Snapshot {
  id: string;
  arn: string;
  /** Identifier of the instance or cluster that it is of. */
  source: string;
  /** `manual` (ours are), `automated`, `awsbackup`, `shared`, `public`. */
  type: string;
  /** As RDS says it: `creating`, `copying`, `available`, `failed`, `deleting`, … */
  status: string;
  /** When the original was taken; absent while that has only been asked for. */
  takenAt?: Date;
  encrypted: boolean;
  /** Size of the volume, not of what the snapshot is billed for. */
  allocatedGibibytes?: number;
  engineVersion?: string;
  tags: Tags;
}

/** The snapshots of one kind in one region. */
export interface Snapshots {
  readonly region: string;
  find(id: string): Promise<Snapshot | undefined>;
  /** All of the database, automated ones too. */
  list(): Promise<Snapshot[]>;
  /** Undefined when one of that name exists already. */
  create(id: string, tags: Record<string, string>): Promise<Snapshot | undefined>;
  /** Begins a copy of a snapshot of `sourceRegion` in this region; fine when it has begun already. */
  copy(
    source: { snapshot: Snapshot; region: string; kmsKeyId: string },
    tags: Record<string, string>,
  ): Promise<void>;
  /** Fine when it is gone. */
  remove(id: string): Promise<void>;
  tag(snapshot: Snapshot, tags: Record<string, string>): Promise<void>;
  untag(snapshot: Snapshot, keys: string[]): Promise<void>;
}

/** Snapshots of the platform's database in a region; a cluster's and an instance's are different things to RDS. */
export function snapshotsIn(clients: AwsClients, resources: PlatformResources, region: string): Snapshots {
  const client = clients.rds(region);
  const source = resources.primary.identifier;
  return resources.topology === "instance"
    ? instanceSnapshots(client, region, source)
    : clusterSnapshots(client, region, source);
}
