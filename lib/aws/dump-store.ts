import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { PgkeepError } from "../errors.ts";
import { isDumpId, requireDumpId } from "../logical/dump-id.ts";
import { manifestName } from "../logical/manifest.ts";
import { type DraftOwner, isOwnerAlive, thisProcess } from "../logical/owner.ts";
import type { Draft, DumpStore, StoreEntry, StoreLock } from "../logical/store.ts";
import { parseBucketPlace } from "./bucket-place.ts";
import { Objects, type ObjectsOptions } from "./objects.ts";

/** The first object of a draft and the last that goes: without a manifest beside it, nobody's backup. */
const ownerName = "owner.json";
/** Written before a backup's manifest is deleted: what is left of it then is no backup. */
const deletingName = "deleting.json";
/** How often a draft says that somebody is at it: nothing else does while one large file is uploaded. */
const signOfLifeMilliseconds = 3_600_000;
const listedAtOnce = 8;

/**
 * Logical backups below a prefix of a bucket, each below its own name. Streams go there without a copy on this
 * machine. The manifest comes last, and only when there is none and every file is as it was written.
 * @param place `s3://bucket/prefix`
 * @throws UsageError; PgkeepError `configuration` when no region is set
 */
export async function openBucketStore(place: string, options: ObjectsOptions = {}): Promise<DumpStore> {
  const { bucket, prefix } = parseBucketPlace(place);
  const objects = new Objects(bucket, prefix, options);
  await objects.requireRegion();
  return new BucketStore(objects);
}

class BucketStore implements DumpStore {
  readonly location: string;
  private readonly objects: Objects;

  constructor(objects: Objects) {
    this.objects = objects;
    this.location = objects.location;
  }

  async begin(id: string): Promise<Draft> {
    requireDumpId(id);
    const { objects: present, folders } = await this.objects.children(`${id}/`);
    if (present.some(({ path }) => path === manifestName)) {
      throw new PgkeepError("refused", `${id} exists already in ${this.location}`);
    }
    const owner = JSON.stringify({ ...(await thisProcess(new Date())), draft: randomUUID() });
    const empty =
      present.length === 0 && (folders.length === 0 || (await this.objects.all(`${id}/`)).length === 0);
    if (!empty || !(await this.objects.writeNew(`${id}/${ownerName}`, owner))) {
      throw new PgkeepError("refused", `${id} is being made already in ${this.location}`, {
        remedy: "wait for it, or remove what an interrupted run left with `pgkeep dump prune`",
      });
    }
    return new BucketDraft(this.objects, id, owner);
  }

  async list(): Promise<StoreEntry[]> {
    const { objects, folders } = await this.objects.children("");
    const entries: StoreEntry[] = objects
      // An object with the prefix itself for a name is what consoles make of a folder.
      .filter(({ path }) => path !== "")
      .map(({ path, changedAt }) => ({ id: path, state: "foreign", since: changedAt }));
    for (let from = 0; from < folders.length; from += listedAtOnce) {
      const some = folders.slice(from, from + listedAtOnce);
      const found = await Promise.all(some.map((id) => this.entryOf(id)));
      entries.push(...found.filter((entry) => entry !== undefined));
    }
    return entries;
  }

  /** @returns undefined when it is gone since */
  private async entryOf(id: string): Promise<StoreEntry | undefined> {
    const { objects, folders } = await this.objects.children(`${id}/`);
    // Folders of what was deleted from a versioned bucket are listed by some who speak S3's language.
    if (objects.length === 0 && (folders.length === 0 || (await this.objects.all(`${id}/`)).length === 0)) {
      return undefined;
    }
    const find = (name: string) => objects.find(({ path }) => path === name);
    const since = new Date(Math.min(...objects.map(({ changedAt }) => changedAt.getTime()), Date.now()));
    if (!isDumpId(id)) return { id, state: "foreign", since };
    if (find(manifestName) !== undefined) return { id, state: "complete", since };
    if (find(deletingName) !== undefined) return { id, state: "interrupted", since };
    const sign = find(ownerName);
    if (sign === undefined) return { id, state: "foreign", since };
    const owner = parseOwner(await this.objects.readText(`${id}/${ownerName}`));
    const alive = owner !== undefined && (await isOwnerAlive(owner, sign.changedAt));
    return {
      id,
      state: alive ? "running" : "interrupted",
      since: owner === undefined ? since : new Date(owner.startedAt),
    };
  }

  async readText(id: string, name: string): Promise<string | undefined> {
    requireDumpId(id);
    return this.objects.readText(`${id}/${name}`);
  }

  async writeText(id: string, name: string, text: string): Promise<void> {
    requireDumpId(id);
    await this.objects.writeText(`${id}/${name}`, text);
  }

  async read(id: string, path: string): Promise<Readable> {
    requireDumpId(id);
    return this.objects.read(`${id}/${path}`);
  }

  async files(id: string): Promise<{ path: string; bytes: number }[]> {
    requireDumpId(id);
    return (await this.objects.all(`${id}/`)).map(({ path, bytes }) => ({ path, bytes }));
  }

  /** The manifest is the last that was written, and so the last whose lock ends. */
  async lockOf(id: string): Promise<StoreLock | undefined> {
    requireDumpId(id);
    return this.objects.lockOf(`${id}/${manifestName}`, new Date());
  }

  async remove(id: string): Promise<void> {
    requireDumpId(id);
    if ((await this.objects.readText(`${id}/${manifestName}`)) === undefined) {
      throw new PgkeepError("not-found", `there is no logical backup named ${id} in ${this.location}`);
    }
    await this.objects.writeText(`${id}/${deletingName}`, JSON.stringify({ since: new Date() }));
    await this.objects.delete([`${id}/${manifestName}`]);
    await clear(this.objects, id);
  }

  async sweep({ dryRun }: { dryRun: boolean }): Promise<string[]> {
    const gone: string[] = [];
    for (const { id, state } of await this.list()) {
      if (state !== "interrupted") continue;
      if (!dryRun) await clear(this.objects, id);
      gone.push(id);
    }
    return gone;
  }
}

/** Removes what is below a name that is no backup; what says so goes last. */
async function clear(objects: Objects, id: string): Promise<void> {
  await objects.abortUploads(`${id}/`);
  const paths = (await objects.all(`${id}/`)).map(({ path }) => path);
  const signs = [ownerName, deletingName];
  await objects.delete(paths.filter((path) => !signs.includes(path)).map((path) => `${id}/${path}`));
  await objects.delete(paths.filter((path) => signs.includes(path)).map((path) => `${id}/${path}`));
}

function parseOwner(text: string | undefined): DraftOwner | undefined {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as DraftOwner);
  } catch {
    return undefined;
  }
}

class BucketDraft implements Draft {
  private readonly objects: Objects;
  private readonly id: string;
  private readonly sizes = new Map<string, number>();
  private readonly signs: NodeJS.Timeout;
  private staged: string | undefined;

  constructor(objects: Objects, id: string, owner: string) {
    this.objects = objects;
    this.id = id;
    this.signs = setInterval(() => {
      objects.writeText(`${id}/${ownerName}`, owner).catch(() => {}); // the next may come through
    }, signOfLifeMilliseconds);
    this.signs.unref();
  }

  async stage(): Promise<string> {
    this.staged ??= await mkdtemp(join(tmpdir(), "pgkeep-dump-"));
    return this.staged;
  }

  async write(path: string, source: Readable, expectedBytes?: number): Promise<void> {
    this.sizes.set(path, await this.objects.upload(`${this.id}/${path}`, source, expectedBytes));
  }

  async remove(path: string): Promise<void> {
    this.sizes.delete(path);
    await this.objects.delete([`${this.id}/${path}`]);
  }

  async commit(manifest: string): Promise<void> {
    await this.requireWhole();
    if (!(await this.objects.writeNew(`${this.id}/${manifestName}`, manifest))) {
      throw new PgkeepError("refused", `${this.id} exists already in ${this.objects.location}`);
    }
    // With a manifest beside it, the owner's sign means nothing.
    await this.objects.delete([`${this.id}/${ownerName}`]).catch(() => {});
    await this.end();
  }

  /** Somebody who took this run for dead may have cleaned up after it. */
  private async requireWhole(): Promise<void> {
    const stored = new Map(
      (await this.objects.all(`${this.id}/`)).map(({ path, bytes }) => [path, bytes] as const),
    );
    for (const [path, bytes] of this.sizes) {
      if (stored.get(path) === bytes) continue;
      throw new PgkeepError(
        "refused",
        `${path} of ${this.id} is not in ${this.objects.location} as it was written`,
        { remedy: "take the backup again; see that nobody removes objects below its prefix" },
      );
    }
    if (stored.has(ownerName)) return;
    throw new PgkeepError("refused", `${this.id} was removed from ${this.objects.location} meanwhile`, {
      remedy: "take the backup again",
    });
  }

  async abandon(): Promise<void> {
    try {
      await clear(this.objects, this.id);
    } finally {
      await this.end();
    }
  }

  private async end(): Promise<void> {
    clearInterval(this.signs);
    if (this.staged !== undefined) await rm(this.staged, { recursive: true, force: true });
  }
}
