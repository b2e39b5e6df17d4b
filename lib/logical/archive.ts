import { createWriteStream } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { errorMessage, PgkeepError } from "../errors.ts";
import { decryptWith } from "./age.ts";
import { archivePath } from "./archive-path.ts";
import type { Keys } from "./key-file.ts";
import type { DumpedFile, Manifest } from "./manifest.ts";
import type { DumpStore } from "./store.ts";

/** Only with the secret key. @throws PgkeepError `backup-invalid` */
export function requireKeys(manifest: Manifest, keys: Keys | undefined): Keys | undefined {
  if (manifest.encryption === null) return undefined;
  const recipients = manifest.encryption.recipients;
  if (keys?.identities.some(({ recipient }) => recipients.includes(recipient.text)) === true) return keys;
  throw new PgkeepError(
    "backup-invalid",
    keys === undefined
      ? `${manifest.id} is encrypted, and no key was given`
      : `${manifest.id} is encrypted for another key: ${recipients.join(", ")}`,
    { remedy: "give the key file with the secret key it was encrypted for with --key-file" },
  );
}

/** One file of the backup in the clear. */
export async function openPlain(
  store: DumpStore,
  manifest: Manifest,
  file: DumpedFile,
  keys: Keys | undefined,
): Promise<Readable> {
  const source = await store.read(manifest.id, file.path).catch((error: unknown) => {
    throw new PgkeepError(
      "backup-invalid",
      `${file.path} of ${manifest.id} cannot be read: ${errorMessage(error)}`,
      {
        remedy: "use another backup; this one is not whole",
        cause: error,
      },
    );
  });
  if (manifest.encryption === null) return source;
  const decryption = decryptWith(keys?.identities ?? [], `${file.path} of ${manifest.id}`);
  source.once("error", (error) => decryption.destroy(error));
  decryption.once("close", () => source.destroy());
  return source.pipe(decryption);
}

/** The archive of a backup as pg_restore or psql takes it. */
export type Archive =
  /** A file or directory that the program opens itself: any order, several at a time. */
  | { kind: "path"; path: string }
  /** Goes through the program's standard input, from the beginning to the end. */
  | { kind: "stream"; open: () => Promise<Readable> };

/**
 * Gives `work` the archive: where it lies when it is in the clear on this machine, else as a stream, else
 * (directory format, encrypted) decrypted into a private directory that is removed afterwards.
 */
export async function withArchive<T>(
  store: DumpStore,
  manifest: Manifest,
  keys: Keys | undefined,
  work: (archive: Archive) => Promise<T>,
): Promise<T> {
  const usable = requireKeys(manifest, keys);
  const path = archivePath(manifest);
  if (usable === undefined && store.directoryOf !== undefined && manifest.format !== "plain") {
    return work({ kind: "path", path: join(store.directoryOf(manifest.id), path) });
  }
  if (manifest.format !== "directory") {
    const file = manifest.files[0] as DumpedFile;
    return work({
      kind: "stream",
      open: async () => {
        const plain = await openPlain(store, manifest, file, usable);
        return manifest.format === "plain" && manifest.compression.algorithm === "gzip"
          ? unpack(plain)
          : plain;
      },
    });
  }
  return withPlainDirectory(store, manifest, manifest.files, usable, (directory) =>
    work({ kind: "path", path: directory }),
  );
}

function unpack(packed: Readable): Readable {
  const plain = createGunzip();
  packed.once("error", (error) => plain.destroy(error));
  plain.once("close", () => packed.destroy());
  return packed.pipe(plain);
}

/** Copies files of a directory dump, decrypted, into a private directory for the time of `work`. */
export async function withPlainDirectory<T>(
  store: DumpStore,
  manifest: Manifest,
  files: readonly DumpedFile[],
  keys: Keys | undefined,
  work: (directory: string) => Promise<T>,
): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), "pgkeep-dump-"));
  try {
    for (const file of files) {
      const name = file.path.replace(/^dump\//, "").replace(/\.age$/, "");
      const target = join(directory, name);
      await mkdir(dirname(target), { recursive: true });
      await pipeline(
        await openPlain(store, manifest, file, keys),
        createWriteStream(target, { mode: 0o600, flags: "wx" }),
      );
    }
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
