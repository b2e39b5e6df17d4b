import { createHash } from "node:crypto";
import { type Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { errorMessage, PgkeepError } from "../errors.ts";
import type { BackupProblem } from "../ports/backups.ts";
import { majorOf } from "../postgres/versions.ts";
import { type Archive, openPlain, withArchive, withPlainDirectory } from "./archive.ts";
import { markVerified, readManifest } from "./catalogue.ts";
import { ClientError, runClient } from "./client.ts";
import { hashFile } from "./dump-files.ts";
import type { Keys } from "./key-file.ts";
import { type Manifest, manifestName } from "./manifest.ts";
import type { DumpStore } from "./store.ts";
import { findTools, type ToolSearch } from "./tools.ts";

export interface VerifyRequest {
  store: DumpStore;
  id: string;
  keys?: Keys | undefined;
  tools: ToolSearch;
  /** Also reads the whole archive with pg_restore, which unpacks every row. */
  deep: boolean;
  now: Date;
  signal?: AbortSignal | undefined;
}

export interface DumpVerification {
  id: string;
  ok: boolean;
  filesChecked: number;
  bytesChecked: number;
  /** Entries of the archive's table of contents; null where there is none (plain) or it could not be read. */
  entries: number | null;
  decrypted: boolean;
  problems: BackupProblem[];
  /** What could not be looked at, and why. */
  notAssessable: string[];
}

/**
 * Recomputes every checksum, decrypts when there is a key, and reads the archive's table of contents against the
 * manifest. Records the time when all is fine.
 * @throws PgkeepError `not-found` for an unknown id
 */
export async function verifyDump(request: VerifyRequest): Promise<DumpVerification> {
  const { store, id, keys } = request;
  const result: DumpVerification = {
    id,
    ok: false,
    filesChecked: 0,
    bytesChecked: 0,
    entries: null,
    decrypted: false,
    problems: [],
    notAssessable: [],
  };
  let manifest: Manifest;
  try {
    manifest = await readManifest(store, id);
  } catch (error) {
    if (!(error instanceof PgkeepError) || error.code !== "backup-invalid") throw error;
    result.problems.push({ subject: manifestName, problem: error.message });
    return result;
  }
  const secret = manifest.encryption !== null && (keys?.identities.length ?? 0) > 0;
  Object.assign(result, await checkFiles(store, manifest, request.signal));
  if (manifest.encryption !== null && !secret) {
    result.notAssessable.push("what is in it: it is encrypted, and no key file with a secret key was given");
  } else if (result.problems.length === 0) {
    if (secret) await checkDecryption(request, manifest, result);
    if (result.problems.length === 0) await checkArchive(request, manifest, result);
  }
  result.ok = result.problems.length === 0;
  if (result.ok) await markVerified(store, id, request.now);
  return result;
}

/** Every file of the manifest by presence, size and checksum, and files that it does not name. */
export async function checkFiles(
  store: DumpStore,
  manifest: Manifest,
  signal?: AbortSignal,
): Promise<Pick<DumpVerification, "filesChecked" | "bytesChecked" | "problems">> {
  const result = { filesChecked: 0, bytesChecked: 0, problems: [] as BackupProblem[] };
  const stored = new Map((await store.files(manifest.id)).map(({ path, bytes }) => [path, bytes]));
  for (const { path, bytes, sha256 } of manifest.files) {
    signal?.throwIfAborted();
    const problem = (text: string) => result.problems.push({ subject: path, problem: text });
    const actual = stored.get(path);
    stored.delete(path);
    if (actual === undefined) {
      problem("is missing");
      continue;
    }
    if (actual !== bytes) {
      problem(`has ${actual} bytes instead of ${bytes}`);
      continue;
    }
    try {
      const found =
        store.directoryOf === undefined
          ? await measure(await store.read(manifest.id, path), signal)
          : await hashFile(store.directoryOf(manifest.id), path, signal);
      result.filesChecked += 1;
      result.bytesChecked += found.bytes;
      if (found.sha256 !== sha256) problem("was changed: its checksum differs");
    } catch (error) {
      signal?.throwIfAborted();
      problem(`cannot be read: ${errorMessage(error)}`);
    }
  }
  for (const path of stored.keys()) {
    if (path.includes("/")) result.problems.push({ subject: path, problem: "is not in the manifest" });
  }
  return result;
}

async function measure(
  source: Readable,
  signal: AbortSignal | undefined,
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  await pipeline(
    source,
    new Writable({
      write(chunk: Buffer, _, done) {
        bytes += chunk.length;
        hash.update(chunk);
        done();
      },
    }),
    { signal },
  );
  return { bytes, sha256: hash.digest("hex") };
}

async function checkDecryption(
  { store, keys, signal }: VerifyRequest,
  manifest: Manifest,
  result: DumpVerification,
) {
  for (const file of manifest.files) {
    try {
      const found = await measure(await openPlain(store, manifest, file, keys), signal);
      if (found.sha256 !== file.plainSha256) {
        result.problems.push({ subject: file.path, problem: "decrypts to something else than was dumped" });
      }
    } catch (error) {
      signal?.throwIfAborted();
      result.problems.push({ subject: file.path, problem: errorMessage(error) });
      return; // a wrong key is wrong for all of them
    }
  }
  result.decrypted = true;
}

async function checkArchive(request: VerifyRequest, manifest: Manifest, result: DumpVerification) {
  const { store, keys } = request;
  try {
    if (manifest.format === "plain") {
      await withArchive(store, manifest, keys, async (archive) => checkPlain(archive));
      return;
    }
    const toc = manifest.files.filter(({ path }) => /\/toc\.dat(?:\.age)?$/.test(path));
    const list = (archive: Archive) => listArchive(request, manifest, archive);
    const inDirectory = manifest.format === "directory" && store.directoryOf === undefined;
    const entries =
      manifest.format === "directory" && (manifest.encryption !== null || inDirectory) && !request.deep
        ? // The table of contents is enough for --list.
          await withPlainDirectory(store, manifest, toc, keys, (path) => list({ kind: "path", path }))
        : await withArchive(store, manifest, keys, list);
    result.entries = entries.length;
    compareContents(manifest, entries, result);
  } catch (error) {
    request.signal?.throwIfAborted();
    if (error instanceof PgkeepError && error.code === "not-found") {
      result.notAssessable.push(`the archive's table of contents: ${error.message}`);
      return;
    }
    const said = error instanceof ClientError ? `pg_restore says: ${error.message}` : errorMessage(error);
    result.problems.push({ subject: "archive", problem: said });
  }
}

/** pg_dump's last words stand only under a dump that it finished. */
async function checkPlain(archive: Archive): Promise<void> {
  if (archive.kind !== "stream") return;
  let tail = "";
  for await (const chunk of await archive.open()) tail = (tail + String(chunk)).slice(-2_000);
  if (tail.includes("-- PostgreSQL database dump complete")) return;
  throw new PgkeepError("backup-invalid", "the script has no end");
}

/** One entry of `pg_restore --list`: dump id, catalog, oid, and the rest as text. */
export interface ArchiveEntry {
  dumpId: number;
  catalogOid: number;
  oid: number;
  /** Kind, schema, name and owner, as pg_restore writes them. */
  text: string;
}

/** The archive's table of contents, in the order in which it is restored. @throws ClientError */
export async function listArchive(
  { tools, deep, signal }: Pick<VerifyRequest, "tools" | "deep" | "signal">,
  manifest: Manifest,
  archive: Archive,
): Promise<ArchiveEntry[]> {
  const tool = await findTools(majorOf(manifest.tool.versionNumber), tools);
  let text = "";
  const read = async (args: string[], output: (stdout: Readable) => Promise<void>) =>
    runClient({
      program: tool.pgRestore,
      args: archive.kind === "path" ? [...args, archive.path] : args,
      ...(archive.kind === "stream" ? { input: await archive.open(), readsBeginningOnly: true } : {}),
      output,
      signal,
    });
  await read(["--list"], async (stdout) => {
    for await (const chunk of stdout) text += String(chunk);
  });
  if (deep) {
    await read(["--file=-"], async (stdout) => {
      for await (const _ of stdout);
    });
  }
  return text.split("\n").flatMap((line) => {
    const match = /^(\d+); (\d+) (\d+) (.*)$/.exec(line);
    if (match === null) return [];
    return [
      {
        dumpId: Number(match[1]),
        catalogOid: Number(match[2]),
        oid: Number(match[3]),
        text: match[4] as string,
      },
    ];
  });
}

/** Every relation of the manifest must be in the archive: by oid, since a name may look like anything. */
function compareContents(manifest: Manifest, entries: readonly ArchiveEntry[], result: DumpVerification) {
  const defined = new Set(entries.map(({ oid }) => oid));
  for (const { schema, name, oid, kind } of manifest.tables) {
    // Without definitions there are data of tables only, and none of an empty partitioned parent.
    const expected = manifest.selection.content !== "data" || kind === "table";
    if (expected && !defined.has(oid)) {
      result.problems.push({
        subject: "archive",
        relation: `${schema}.${name}`,
        problem: "is in the manifest and not in the archive",
      });
    }
  }
}
