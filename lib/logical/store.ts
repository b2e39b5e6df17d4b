import type { Readable } from "node:stream";

/** What a store holds under one name. */
export interface StoreEntry {
  id: string;
  /**
   * `complete`: it has a manifest. `running`: somebody alive is making it. `interrupted`: whoever made it is
   * gone; it is no backup and may be removed. `foreign`: not made by pgkeep; never touched.
   */
  state: "complete" | "running" | "interrupted" | "foreign";
  /** When it was begun, as far as the store can tell. */
  since: Date;
}

/** A backup being made: nobody sees it as one before `commit`. */
export interface Draft {
  /** Where programs may write files themselves; absent where there is no local directory (S3). */
  readonly directory?: string;
  /** Stores a stream under a path below the backup. */
  write(path: string, source: Readable): Promise<void>;
  /** Removes one file of the draft. */
  remove(path: string): Promise<void>;
  /** Writes the manifest, then gives the backup its name. */
  commit(manifest: string): Promise<void>;
  abandon(): Promise<void>;
}

/** Where logical backups are kept: a directory, later a prefix of a bucket. */
export interface DumpStore {
  /** For people. */
  readonly location: string;
  begin(id: string): Promise<Draft>;
  list(): Promise<StoreEntry[]>;
  /** A small text beside the files. @returns undefined when there is none */
  readText(id: string, name: string): Promise<string | undefined>;
  writeText(id: string, name: string, text: string): Promise<void>;
  /** @throws the store's error, ENOENT for a missing one */
  read(id: string, path: string): Promise<Readable>;
  /** Every file of the backup with its size; paths as in the manifest, the manifest and texts included. */
  files(id: string): Promise<{ path: string; bytes: number }[]>;
  /** Where programs may read the backup's files themselves. */
  directoryOf?(id: string): string;
  /** Takes the name away first, so that a half-deleted backup is never listed. */
  remove(id: string): Promise<void>;
  /** Removes what killed runs have left. @returns names of what was, or with `dryRun` would be, removed */
  sweep(options: { dryRun: boolean }): Promise<string[]>;
}
