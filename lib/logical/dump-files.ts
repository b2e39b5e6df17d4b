import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { encryptFor } from "./age.ts";
import type { Keys } from "./key-file.ts";
import type { DumpedFile } from "./manifest.ts";
import type { Draft } from "./store.ts";

/** Counts and hashes what passes. */
class Meter extends Transform {
  bytes = 0;
  private readonly hash = createHash("sha256");
  override _transform(chunk: Buffer, _: BufferEncoding, done: (error: null, chunk: Buffer) => void): void {
    this.bytes += chunk.length;
    this.hash.update(chunk);
    done(null, chunk);
  }
  digest(): string {
    return this.hash.digest("hex");
  }
}

/** Encrypts when there are keys, measures both sides, stores. */
export async function storeStream(
  draft: Draft,
  path: string,
  source: Readable,
  keys: Keys | undefined,
  expectedBytes?: number,
): Promise<DumpedFile> {
  const stored = new Meter();
  if (keys === undefined) {
    await Promise.all([pipeline(source, stored), draft.write(path, stored, expectedBytes)]);
    return { path, bytes: stored.bytes, sha256: stored.digest() };
  }
  const plain = new Meter();
  await Promise.all([
    pipeline(source, plain, encryptFor(keys.recipients), stored),
    draft.write(path, stored, expectedBytes),
  ]);
  return {
    path,
    bytes: stored.bytes,
    sha256: stored.digest(),
    plainBytes: plain.bytes,
    plainSha256: plain.digest(),
  };
}

/**
 * Into one buffer: half of a stream's processor time, which pg_restore needs while a backup is checked beside it.
 */
export async function hashFile(directory: string, path: string, signal?: AbortSignal): Promise<DumpedFile> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafeSlow(1024 * 1024);
  let bytes = 0;
  const file = await open(join(directory, path));
  try {
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, buffer.length);
      if (bytesRead === 0) break;
      bytes += bytesRead;
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
  return { path, bytes, sha256: hash.digest("hex") };
}

export async function hashDirectory(
  directory: string,
  path: string,
  signal?: AbortSignal,
): Promise<DumpedFile[]> {
  const files: DumpedFile[] = [];
  for (const name of (await readdir(join(directory, path))).sort()) {
    files.push(await hashFile(directory, `${path}/${name}`, signal));
  }
  return files;
}

/**
 * What pg_dump wrote into a directory on this machine, in the clear: each file is stored (encrypted, where there
 * are keys) and removed there before the commit.
 */
export async function storeDirectory(
  draft: Draft,
  directory: string,
  path: string,
  keys: Keys | undefined,
  signal?: AbortSignal,
): Promise<DumpedFile[]> {
  const files: DumpedFile[] = [];
  for (const name of (await readdir(join(directory, path))).sort()) {
    signal?.throwIfAborted();
    const local = join(directory, path, name);
    const { size } = await stat(local);
    const stored = keys === undefined ? `${path}/${name}` : `${path}/${name}.age`;
    files.push(await storeStream(draft, stored, createReadStream(local), keys, size));
    await rm(local);
  }
  return files;
}
