import { mkdirSync, mkdtempSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { DirectoryStore } from "../../lib/logical/directory-store.ts";
import type { Manifest } from "../../lib/logical/manifest.ts";
import type { DumpStore } from "../../lib/logical/store.ts";
import { checkFiles } from "../../lib/logical/verify.ts";

const id = "shop-20260101t000000z";

/** A backup of one file that takes seconds to read, and no room on the disk. */
function bigBackup(): { store: DirectoryStore; manifest: Manifest } {
  const directory = mkdtempSync(join(tmpdir(), "big-"));
  mkdirSync(join(directory, id));
  const bytes = 4 * 1024 ** 3;
  writeFileSync(join(directory, id, "dump.custom"), "");
  truncateSync(join(directory, id, "dump.custom"), bytes);
  const files = [{ path: "dump.custom", bytes, sha256: "of nothing" }];
  return { store: new DirectoryStore(directory), manifest: { id, files } as unknown as Manifest };
}

/** As a bucket is: no path on this machine. */
function streaming(store: DirectoryStore): DumpStore {
  return new Proxy<DumpStore>(store, {
    get: (target, name) =>
      name === "directoryOf" ? undefined : (Reflect.get(target, name) as unknown as () => void)?.bind(target),
  });
}

it.each([
  ["in a directory", (store: DirectoryStore) => store],
  ["that has to be streamed", streaming],
])("a check interrupted in a file %s says so, and not that the file is damaged", async (_, as) => {
  const { store, manifest } = bigBackup();
  const stop = new AbortController();
  const checking = checkFiles(as(store), manifest, stop.signal);
  setTimeout(() => stop.abort(new Error("enough")), 100);
  await expect(checking).rejects.toThrow("enough");
});
