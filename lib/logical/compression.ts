import { UsageError } from "../errors.ts";
import { majorOf } from "../postgres/versions.ts";
import type { DumpFormat } from "./manifest.ts";
import { type ClientTools, supportsZstd } from "./tools.ts";

export interface Compression {
  algorithm: "none" | "gzip" | "zstd";
  /** null: the algorithm's own default. */
  level: number | null;
}

/**
 * What was asked for, or the best that this pg_dump and the format allow.
 * @throws UsageError when they cannot do what was asked for
 */
export async function chooseCompression(
  wanted: Compression | undefined,
  format: DumpFormat,
  tool: ClientTools,
): Promise<Compression> {
  if (format === "tar") {
    if (wanted !== undefined && wanted.algorithm !== "none") {
      throw new UsageError("pg_dump does not compress the format tar", { remedy: "choose --format custom" });
    }
    return { algorithm: "none", level: null };
  }
  if (wanted?.algorithm === "zstd" && !(await supportsZstd(tool))) {
    throw new UsageError(`${tool.pgDump} cannot compress with zstd`, {
      remedy: "choose --compress gzip, or install pg_dump 16 or newer built with zstd",
    });
  }
  if (wanted?.algorithm === "zstd" && format === "plain") {
    throw new UsageError("a plain dump is compressed with gzip only", { remedy: "choose --format custom" });
  }
  if (wanted !== undefined) return wanted;
  // The way back of a plain dump is psql, which we feed ourselves.
  return { algorithm: format !== "plain" && (await supportsZstd(tool)) ? "zstd" : "gzip", level: null };
}

/** pg_dump's option for it. */
export function compressionOption({ algorithm, level }: Compression, tool: ClientTools): string[] {
  if (majorOf(tool.versionNumber) < 16) {
    // Without a level, a plain dump would not be compressed at all; 6 is zlib's own default.
    return [`--compress=${algorithm === "none" ? 0 : (level ?? 6)}`];
  }
  return [`--compress=${algorithm}${level === null || algorithm === "none" ? "" : `:${level}`}`];
}
