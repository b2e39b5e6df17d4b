import { PgkeepError } from "../errors.ts";
import { readManifest } from "./catalogue.ts";
import type { Manifest } from "./manifest.ts";
import type { DumpStore } from "./store.ts";
import { checkFiles } from "./verify.ts";

/** The manifest of a backup whose files are all as they were written. @throws PgkeepError `backup-invalid` */
export async function requireSound(store: DumpStore, id: string, signal?: AbortSignal): Promise<Manifest> {
  const manifest = await readManifest(store, id);
  await requireSoundFiles(store, manifest, signal);
  return manifest;
}

/** @throws PgkeepError `backup-invalid` naming the first file that is not as it was written */
export async function requireSoundFiles(
  store: DumpStore,
  manifest: Manifest,
  signal?: AbortSignal,
): Promise<void> {
  const { id } = manifest;
  const { problems } = await checkFiles(store, manifest, signal);
  const [first] = problems;
  if (first === undefined) return;
  throw new PgkeepError(
    "backup-invalid",
    `${id} is damaged: ${first.subject} ${first.problem}${problems.length > 1 ? ` (and ${problems.length - 1} more)` : ""}`,
    { remedy: "restore another backup; `pgkeep dump list` shows them" },
  );
}
