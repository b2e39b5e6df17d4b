import type { DumpFormat, Manifest } from "./manifest.ts";

const archiveNames: Record<Exclude<DumpFormat, "directory">, string> = {
  custom: "dump.pgdump",
  plain: "dump.sql",
  tar: "dump.tar",
};

/** Where the archive is within a backup; a directory for the format directory. */
export function archivePath(manifest: Pick<Manifest, "format" | "compression" | "encryption">): string {
  if (manifest.format === "directory") return "dump";
  const packed = manifest.format === "plain" && manifest.compression.algorithm === "gzip" ? ".gz" : "";
  return `${archiveNames[manifest.format]}${packed}${manifest.encryption === null ? "" : ".age"}`;
}
