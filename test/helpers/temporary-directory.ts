import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fastestParent } from "./fastest-parent.ts";

/**
 * Gives the whole run one directory for temporary files, and one for clusters to copy, and removes them at the
 * end: a test process that is ended from outside cannot remove its own. The account that runs PostgreSQL has to
 * get through them. Each project of the run calls this; the first makes them for all, since a directory in another's
 * gets longer than the path of a socket may be.
 */
export default function setUp(): (() => void) | undefined {
  if (process.env.PGKEEP_TEST_CLUSTERS !== undefined) return undefined;
  const before = process.env.TMPDIR;
  const directories = [tmpdir(), fastestParent()].map((parent) => {
    const directory = mkdtempSync(join(parent, "pgkeep-tests-"));
    chmodSync(directory, 0o755);
    return directory;
  });
  [process.env.TMPDIR, process.env.PGKEEP_TEST_CLUSTERS] = directories;
  return () => {
    delete process.env.PGKEEP_TEST_CLUSTERS;
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
    for (const directory of directories) {
      rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    }
  };
}
