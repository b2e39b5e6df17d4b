import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Gives the whole run one directory for temporary files and removes it at the end: a test process that is
 * ended from outside cannot remove its own. The account that runs PostgreSQL has to get through it.
 */
export default function setUp(): () => void {
  const before = process.env.TMPDIR;
  const directory = mkdtempSync(join(tmpdir(), "pgkeep-tests-"));
  chmodSync(directory, 0o755);
  process.env.TMPDIR = directory;
  return () => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  };
}
