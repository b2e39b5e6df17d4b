import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PgkeepError } from "../errors.ts";
import type { RestoreRequest, RestoreTarget } from "../ports/backups.ts";
import { giveTo, type Owner } from "./owner.ts";
import { isAlive } from "./processes.ts";
import { stopServer } from "./server.ts";

/** `restore.json`: what tells a restored instance apart from any other directory. */
export interface RestoreMarker {
  formatVersion: 1;
  name: string;
  /** The target as it was asked for; the same name never means two targets. */
  wanted: string;
  fromBackupId?: string;
  /** Process that makes it, while it is being made. */
  pid: number;
  state: "restoring" | "available";
  backupId?: string;
  lastCommitAt?: string;
}

/** `<scratch>/<name>/`: the marker, `data/` and what was saved from a dead primary. */
export class RestoreDirectory {
  readonly name: string;
  readonly path: string;
  private readonly owner: Owner | null;

  /** @throws PgkeepError `usage` for a name that could lead out of the directory */
  constructor(scratchDirectory: string, name: string, owner: Owner | null) {
    if (!/^[a-z](?:-?[a-z0-9])*$/.test(name) || name.length > 63) {
      throw new PgkeepError("usage", `${JSON.stringify(name)} cannot be the name of a restored instance`, {
        remedy: "use up to 63 lower-case letters, digits and single hyphens, beginning with a letter",
      });
    }
    this.name = name;
    this.path = join(scratchDirectory, name);
    this.owner = owner;
  }

  get data(): string {
    return join(this.path, "data");
  }

  get salvage(): string {
    return join(this.path, "salvage");
  }

  /** @throws PgkeepError `refused` when something else has that name */
  async read(): Promise<RestoreMarker | undefined> {
    try {
      return JSON.parse(await readFile(join(this.path, "restore.json"), "utf8")) as RestoreMarker;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    const entries = await readdir(this.path).catch(() => undefined);
    // An empty directory is a restore that was killed between its first two steps.
    if (entries === undefined || entries.length === 0) return undefined;
    throw new PgkeepError("refused", `${this.path} was not made by a restore: it is left alone`, {
      remedy: "choose another name",
    });
  }

  async begin(marker: RestoreMarker): Promise<void> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    await this.write(marker);
    await mkdir(this.salvage, { mode: 0o700 });
    await giveTo(this.owner, this.salvage);
    await giveTo(this.owner, this.path);
  }

  async write(marker: RestoreMarker): Promise<void> {
    const file = join(this.path, "restore.json");
    await writeFile(`${file}.tmp`, JSON.stringify(marker), { mode: 0o600 });
    await rename(`${file}.tmp`, file);
  }

  /** Stops the server and deletes the directory when it is one of ours. */
  async remove(): Promise<void> {
    const marker = await this.read();
    if (marker !== undefined) await stopServer(this.data, "immediate");
    await rm(this.path, { recursive: true, force: true, maxRetries: 3 });
  }

  /** Whether another process is at work on it now. */
  isMadeElsewhere(marker: RestoreMarker): boolean {
    return marker.state === "restoring" && marker.pid !== process.pid && isAlive(marker.pid);
  }
}

export function sameRequest(marker: RestoreMarker, request: RestoreRequest): boolean {
  return marker.wanted === targetText(request.target) && marker.fromBackupId === request.fromBackupId;
}

export function targetText(target: RestoreTarget): string {
  switch (target.kind) {
    case "latest":
      return "latest";
    case "time":
      return `time ${target.time.toISOString()}`;
    case "backup":
      return `backup ${target.backupId}`;
  }
}
