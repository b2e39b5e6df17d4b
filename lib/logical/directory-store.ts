import { randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { PgkeepError } from "../errors.ts";
import { isDumpId, requireDumpId } from "./dump-id.ts";
import { manifestName } from "./manifest.ts";
import { type DraftOwner, isOwnerAlive, thisProcess } from "./owner.ts";
import type { Draft, DumpStore, StoreEntry } from "./store.ts";

const partial = /^\.partial-(.+)$/;
const deleting = /^\.deleting-(.+)$/;
/** A draft before its owner is written into it. */
const draft = /^\.draft-(\d+)-/;
const ownerName = "owner.json";

/** Logical backups in a directory, each in one of its own, readable by its owner only. */
export class DirectoryStore implements DumpStore {
  readonly location: string;

  constructor(directory: string) {
    this.location = directory;
  }

  directoryOf(id: string): string {
    requireDumpId(id);
    return join(this.location, id);
  }

  async begin(id: string): Promise<Draft> {
    const final = this.directoryOf(id);
    const directory = join(this.location, `.partial-${id}`);
    const beginning = join(this.location, `.draft-${process.pid}-${randomUUID()}`);
    await this.attempt(async () => {
      await mkdir(this.location, { recursive: true, mode: 0o700 });
      await mkdir(beginning, { mode: 0o700 });
    });
    try {
      await writeFile(join(beginning, ownerName), JSON.stringify(await thisProcess(new Date())));
      if (await exists(final)) throw new PgkeepError("refused", `${id} exists already in ${this.location}`);
      await rename(beginning, directory);
    } catch (error) {
      await rm(beginning, { recursive: true, force: true });
      const code = (error as NodeJS.ErrnoException).code ?? "";
      if (!["EEXIST", "ENOTEMPTY"].includes(code)) throw error;
      throw new PgkeepError("refused", `${id} is being made already in ${this.location}`, {
        remedy: "wait for it, or remove what an interrupted run left with `pgkeep dump prune`",
        cause: error,
      });
    }
    return {
      directory,
      write: async (path, source) => {
        const file = join(directory, path);
        await mkdir(dirname(file), { recursive: true, mode: 0o700 });
        // `flush`: what is committed must survive the machine's fall.
        await pipeline(source, createWriteStream(file, { flags: "wx", mode: 0o600, flush: true }));
      },
      remove: (path) => rm(join(directory, path), { recursive: true, force: true }),
      commit: async (manifest) => {
        await writeDurably(join(directory, manifestName), manifest);
        await rm(join(directory, ownerName));
        await syncDirectory(directory);
        await rename(directory, final);
        await syncDirectory(this.location);
      },
      abandon: () => rm(directory, { recursive: true, force: true }),
    };
  }

  async list(): Promise<StoreEntry[]> {
    const entries: StoreEntry[] = [];
    for (const name of await this.names()) {
      const status = await stat(join(this.location, name)).catch(() => undefined);
      if (status === undefined) continue; // gone since the directory was read
      const since = status.mtime;
      const id = partial.exec(name)?.[1];
      if (id !== undefined) {
        const owner = await this.ownerOf(name);
        // Between `commit` and the rename there is no owner for a moment.
        const alive = owner === undefined ? isRecent(since) : await isOwnerAlive(owner, since);
        entries.push({
          id,
          state: alive ? "running" : "interrupted",
          since: owner === undefined ? since : new Date(owner.startedAt),
        });
      } else if (!name.startsWith(".")) {
        const ours =
          status.isDirectory() && isDumpId(name) && (await exists(join(this.location, name, manifestName)));
        entries.push({ id: name, state: ours ? "complete" : "foreign", since });
      }
    }
    return entries;
  }

  async readText(id: string, name: string): Promise<string | undefined> {
    try {
      return await readFile(join(this.directoryOf(id), name), "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  async writeText(id: string, name: string, text: string): Promise<void> {
    await writeDurably(join(this.directoryOf(id), name), text);
  }

  async read(id: string, path: string): Promise<Readable> {
    const file = join(this.directoryOf(id), path);
    await stat(file);
    return createReadStream(file, { highWaterMark: 256 * 1024 });
  }

  async files(id: string): Promise<{ path: string; bytes: number }[]> {
    const directory = this.directoryOf(id);
    const found: { path: string; bytes: number }[] = [];
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      if (entry.isDirectory()) continue;
      const file = join(entry.parentPath, entry.name);
      found.push({ path: relative(directory, file), bytes: (await stat(file)).size });
    }
    return found;
  }

  async remove(id: string): Promise<void> {
    const doomed = join(this.location, `.deleting-${id}`);
    await rm(doomed, { recursive: true, force: true });
    try {
      await rename(this.directoryOf(id), doomed);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      throw new PgkeepError("not-found", `there is no logical backup named ${id} in ${this.location}`);
    }
    await rm(doomed, { recursive: true, force: true });
  }

  async sweep({ dryRun }: { dryRun: boolean }): Promise<string[]> {
    const gone: string[] = [];
    for (const name of await this.names()) {
      if (!(await this.isLeftover(name))) continue;
      if (!dryRun) await rm(join(this.location, name), { recursive: true, force: true });
      gone.push(name);
    }
    return gone;
  }

  private async isLeftover(name: string): Promise<boolean> {
    const path = join(this.location, name);
    if (deleting.test(name)) return true;
    const status = await stat(path).catch(() => undefined);
    if (status === undefined) return false;
    if (partial.test(name)) {
      const owner = await this.ownerOf(name);
      if (owner === undefined) return !isRecent(status.mtime);
      return !(await isOwnerAlive(owner, status.mtime));
    }
    // Empty or nearly so, and renamed within milliseconds.
    return draft.test(name) && !isRecent(status.mtime);
  }

  private async ownerOf(name: string): Promise<DraftOwner | undefined> {
    try {
      return JSON.parse(await readFile(join(this.location, name, ownerName), "utf8")) as DraftOwner;
    } catch {
      return undefined;
    }
  }

  private async names(): Promise<string[]> {
    try {
      return await readdir(this.location);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
  }

  private async attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      throw new PgkeepError("not-found", `${this.location} cannot be written: ${(error as Error).message}`, {
        remedy: "give a directory that this account may write to with --to",
        cause: error,
      });
    }
  }
}

const isRecent = (time: Date) => Date.now() - time.getTime() < 60_000;

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Replaces a file at once: a reader sees the old text or the new one, also after a power failure. */
async function writeDurably(file: string, text: string): Promise<void> {
  const temporary = `${file}.${process.pid}.tmp`;
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
