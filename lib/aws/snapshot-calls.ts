import { AddTagsToResourceCommand, type RDSClient, RemoveTagsFromResourceCommand } from "@aws-sdk/client-rds";
import { calling, isNamed } from "./errors.ts";
import type { Snapshot, Snapshots } from "./snapshots.ts";
import { tagList, tagsOf } from "./tags.ts";

/** What RDS says of a snapshot, whichever kind it is of. */
export interface SnapshotFacts {
  SnapshotType?: string | undefined;
  Status?: string | undefined;
  AllocatedStorage?: number | undefined;
  EngineVersion?: string | undefined;
  TagList?: { Key?: string | undefined; Value?: string | undefined }[] | undefined;
}

/** The calls for one kind of snapshot; each does one thing, and throws what RDS answers. */
export interface SnapshotCalls<Facts extends SnapshotFacts> {
  /** What RDS calls such a snapshot in the names of its errors. */
  kind: "DBSnapshot" | "DBClusterSnapshot";
  find(id: string): Promise<Facts | undefined>;
  /** Page by page. */
  list(): AsyncIterable<Facts[]>;
  create(id: string, tags: ReturnType<typeof tagList>): Promise<Facts | undefined>;
  copy(
    source: { arn: string; id: string; kmsKeyId: string },
    tags: ReturnType<typeof tagList>,
  ): Promise<unknown>;
  remove(id: string): Promise<unknown>;
  /** What each kind has under a name of its own. */
  described(facts: Facts): Pick<Snapshot, "id" | "arn" | "source" | "encrypted" | "takenAt">;
}

/** Snapshots of one kind in one region: what is gone, there already or refused means the same for each. */
export function snapshotsBy<Facts extends SnapshotFacts>(
  client: RDSClient,
  region: string,
  source: string,
  calls: SnapshotCalls<Facts>,
): Snapshots {
  const described = (facts: Facts): Snapshot => ({
    ...calls.described(facts),
    type: facts.SnapshotType ?? "",
    status: facts.Status ?? "",
    tags: tagsOf(facts.TagList),
    ...(facts.AllocatedStorage === undefined ? {} : { allocatedGibibytes: facts.AllocatedStorage }),
    ...(facts.EngineVersion === undefined ? {} : { engineVersion: facts.EngineVersion }),
  });
  /** Resolves to undefined when RDS answers with this error. */
  const except = async <T>(ending: "NotFound" | "AlreadyExists", call: () => Promise<T>) => {
    try {
      return await call();
    } catch (error) {
      if (isNamed(error, `${calls.kind}${ending}`)) return undefined;
      throw error;
    }
  };
  return {
    region,
    find: (id) =>
      calling(`look at the snapshot ${id} in ${region}`, async () => {
        const facts = await except("NotFound", () => calls.find(id));
        return facts === undefined ? undefined : described(facts);
      }),
    list: () =>
      calling(`list the snapshots of ${source}`, async () => {
        const found: Snapshot[] = [];
        for await (const page of calls.list()) found.push(...page.map(described));
        return found;
      }),
    create: (id, tags) =>
      calling(`take the snapshot ${id} of ${source}`, async () => {
        const facts = await except("AlreadyExists", () => calls.create(id, tagList(tags)));
        return facts === undefined ? undefined : described(facts);
      }),
    copy: ({ snapshot, region: from, kmsKeyId }, tags) =>
      calling(`copy the snapshot ${snapshot.id} from ${from} to ${region}`, async () => {
        await except("AlreadyExists", () =>
          calls.copy({ arn: snapshot.arn, id: snapshot.id, kmsKeyId }, tagList(tags)),
        );
      }),
    remove: (id) =>
      calling(`delete the snapshot ${id} in ${region}`, async () => {
        await except("NotFound", () => calls.remove(id));
      }),
    tag: (snapshot, tags) =>
      calling(`tag the snapshot ${snapshot.id}`, async () => {
        await client.send(new AddTagsToResourceCommand({ ResourceName: snapshot.arn, Tags: tagList(tags) }));
      }),
    untag: (snapshot, keys) =>
      calling(`untag the snapshot ${snapshot.id}`, async () => {
        await client.send(new RemoveTagsFromResourceCommand({ ResourceName: snapshot.arn, TagKeys: keys }));
      }),
  };
}
