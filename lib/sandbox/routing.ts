import { randomUUID } from "node:crypto";
import { link, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Routing, RoutingDocument } from "../ports/routing.ts";
import { parseRoutingDocument, requireNextVersion } from "../routing/document.ts";

/**
 * Versions that stay. A publisher that was suspended for this many publications could take the name of a
 * removed one, and is told apart by that distance.
 */
const keptVersions = 20;

/**
 * The routing document as a file. The truth is the file with the highest number in `<file>.versions/`: each
 * version is written whole under a temporary name and then linked to its number, which only one process can
 * do, so that neither two writers nor a killed one can leave a wrong document or a lock. `file` is the copy
 * that applications read; it is replaced by renaming.
 */
export function fileRouting(file: string): Routing {
  const versions = `${file}.versions`;
  const pathOf = (version: number) => join(versions, `${String(version).padStart(10, "0")}.json`);

  return {
    async read() {
      for (;;) {
        const newest = (await listVersions(versions)).at(-1);
        if (newest === undefined) return undefined;
        const text = await readIfThere(pathOf(newest));
        // Removed between listing and reading: there is a newer one.
        if (text !== undefined) return parseRoutingDocument(text, pathOf(newest));
      }
    },

    async publish(document, expectedVersion) {
      requireNextVersion(document, expectedVersion);
      await mkdir(versions, { recursive: true, mode: 0o700 });
      if ((await listVersions(versions)).at(-1) !== expectedVersion) return false;
      const text = textOf(document);
      if (!(await claim(pathOf(document.version), text))) return false;
      const newest = (await listVersions(versions)).at(-1) ?? document.version;
      if (newest - document.version >= keptVersions) {
        await rm(pathOf(document.version), { force: true });
        return false;
      }
      await showNewest(file, versions, pathOf);
      await prune(versions, pathOf);
      return true;
    },
  };
}

function textOf(document: RoutingDocument): string {
  return `${JSON.stringify(document, null, 2)}\n`;
}

async function listVersions(directory: string): Promise<number[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return names
    .filter((name) => /^\d+\.json$/.test(name))
    .map((name) => Number.parseInt(name, 10))
    .sort((a, b) => a - b);
}

async function readIfThere(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}

/** Writes the whole text, on disk, under a name of its own beside `target`. */
async function writeBeside(target: string, text: string): Promise<string> {
  const path = join(dirname(target), `.${randomUUID()}.tmp`);
  // The document holds no secret, and applications of other users read it.
  const handle = await open(path, "wx", 0o644);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
  return path;
}

/** Resolves to false when the name is taken. */
async function claim(target: string, text: string): Promise<boolean> {
  const written = await writeBeside(target, text);
  try {
    await link(written, target);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    await rm(written, { force: true });
  }
}

/** Puts the newest version in place of `file`; again when a newer one appeared, which our copy may have covered. */
async function showNewest(
  file: string,
  versions: string,
  pathOf: (version: number) => string,
): Promise<void> {
  let shown: number | undefined;
  for (;;) {
    const newest = (await listVersions(versions)).at(-1);
    if (newest === undefined || newest === shown) return;
    const text = await readIfThere(pathOf(newest));
    if (text === undefined) continue;
    await rename(await writeBeside(file, text), file);
    shown = newest;
  }
}

async function prune(versions: string, pathOf: (version: number) => string): Promise<void> {
  for (const old of (await listVersions(versions)).slice(0, -keptVersions)) {
    await rm(pathOf(old), { force: true });
  }
}
