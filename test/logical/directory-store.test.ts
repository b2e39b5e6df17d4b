import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DirectoryStore } from "../../lib/logical/directory-store.ts";
import { dumpStoreContract } from "../ports/dump-store.contract.ts";

dumpStoreContract("a directory", async () => {
  const directory = await mkdtemp(join(tmpdir(), "store-"));
  return async () => new DirectoryStore(directory);
});
