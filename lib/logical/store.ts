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
  /**
   * A private directory on this machine, for programs that can write into nothing else, where `directory` is
   * absent. What is to be kept of it goes through `write`; the rest is gone with the draft.
   */
  stage?(): Promise<string>;
  /** Stores a stream under a path below the backup. @param expectedBytes about how much; what it is cut by */
  write(path: string, source: Readable, expectedBytes?: number): Promise<void>;
  /** Removes one file of the draft. */
  remove(path: string): Promise<void>;
  /** Writes the manifest, then gives the backup its name. */
  commit(manifest: string): Promise<void>;
  abandon(): Promise<void>;
}

/** What keeps a backup from being removed. */
export interface StoreLock {
  /** For people, e.g. "object lock (compliance)". */
  by: string;
  /** null: until somebody lifts it. */
  until: Date | null;
}

/** Where logical backups are kept: a directory, or a prefix of a bucket. */
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
  /** Until when, and why, the store itself keeps a backup from being removed; undefined when nothing does. */
  lockOf?(id: string): Promise<StoreLock | undefined>;
  /** Removes what killed runs have left. @returns names of what was, or with `dryRun` would be, removed */
  sweep(options: { dryRun: boolean }): Promise<string[]>;
}
