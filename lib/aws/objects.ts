import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { errorMessage, PgkeepError } from "../errors.ts";
import type { ClientOptions } from "./clients.ts";
import { awsError, calling, isNamed } from "./errors.ts";
import { readObject } from "./object-reader.ts";
import { regionOf } from "./region.ts";

export interface ObjectsOptions extends Partial<ClientOptions> {
  /** Key of KMS that objects are encrypted with; by default the bucket decides. */
  kmsKey?: string | undefined;
  /** Smallest part of a large upload. Default 32 MiB. */
  partBytes?: number;
}

/** An object's key below a prefix. */
export interface FoundObject {
  path: string;
  bytes: number;
  changedAt: Date;
}

/** An upload has 10,000 parts at most (Amazon S3 User Guide, multipart upload limits). */
const maxParts = 10_000;
const defaultPartBytes = 32 * 1024 * 1024;
const maxPartBytes = 5 * 1024 ** 3;
/** Keys that one call deletes (S3 API reference, DeleteObjects). */
const deletedAtOnce = 1000;

/** The objects of one bucket below one prefix; names are relative to it. Throttled calls are repeated. */
export class Objects {
  readonly location: string;
  private readonly client: S3Client;
  private readonly bucket: string;
  private readonly prefix: string;
  private readonly encryption: object;
  private readonly partBytes: number;

  /** @param prefix empty, or ends with a slash */
  constructor(bucket: string, prefix: string, options: ObjectsOptions = {}) {
    this.bucket = bucket;
    this.prefix = prefix;
    this.location = `s3://${bucket}/${prefix}`.replace(/\/$/, "");
    this.partBytes = options.partBytes ?? defaultPartBytes;
    this.encryption =
      options.kmsKey === undefined ? {} : { ServerSideEncryption: "aws:kms", SSEKMSKeyId: options.kmsKey };
    this.client = new S3Client({
      retryMode: "adaptive",
      maxAttempts: options.maxAttempts ?? 8,
      requestHandler: { connectionTimeout: 3_000, socketTimeout: 60_000 },
      // The bucket may be in another region than the caller.
      followRegionRedirects: true,
      ...(options.region === undefined ? {} : { region: options.region }),
      ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
      ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    });
  }

  /** @throws PgkeepError `configuration` when no region is set */
  async requireRegion(): Promise<void> {
    await regionOf(this.client, "the bucket");
  }

  /** What is directly below `path`, and the names of what has something below. */
  async children(path: string): Promise<{ objects: FoundObject[]; folders: string[] }> {
    return this.walk(path, "/");
  }

  /** Everything below `path`, at any depth. */
  async all(path: string): Promise<FoundObject[]> {
    return (await this.walk(path)).objects;
  }

  private async walk(path: string, Delimiter?: string) {
    const Prefix = `${this.prefix}${path}`;
    const objects: FoundObject[] = [];
    const folders: string[] = [];
    await calling(`list ${this.location}/${path}`, async () => {
      const pages = paginateListObjectsV2(
        { client: this.client },
        { Bucket: this.bucket, Prefix, ...(Delimiter === undefined ? {} : { Delimiter }) },
      );
      for await (const { Contents = [], CommonPrefixes = [] } of pages) {
        for (const { Key = "", Size = 0, LastModified = new Date(0) } of Contents) {
          objects.push({ path: Key.slice(Prefix.length), bytes: Size, changedAt: LastModified });
        }
        folders.push(...CommonPrefixes.map((each) => (each.Prefix ?? "").slice(Prefix.length, -1)));
      }
    });
    return { objects, folders };
  }

  async readText(path: string): Promise<string | undefined> {
    try {
      const answer = await this.client.send(
        new GetObjectCommand({ Bucket: this.bucket, Key: `${this.prefix}${path}` }),
      );
      return await answer.Body?.transformToString("utf8");
    } catch (error) {
      if (isNamed(error, "NoSuchKey")) return undefined;
      throw awsError(error, `read ${this.location}/${path}`);
    }
  }

  async read(path: string): Promise<Readable> {
    return readObject(this.client, this.bucket, `${this.prefix}${path}`);
  }

  async writeText(path: string, text: string): Promise<void> {
    await calling(`write ${this.location}/${path}`, () => this.put(path, text));
  }

  /** @returns false when there is one already, with another text */
  async writeNew(path: string, text: string): Promise<boolean> {
    try {
      await this.put(path, text, { IfNoneMatch: "*" });
      return true;
    } catch (error) {
      // 409: another such request of the same moment is not decided yet.
      if (!isNamed(error, "PreconditionFailed", "ConditionalRequestConflict")) {
        throw awsError(error, `write ${this.location}/${path}`);
      }
      // A repeated call meets what its first attempt wrote when only the answer was lost.
      return (await this.readText(path)) === text;
    }
  }

  private async put(path: string, text: string, condition: { IfNoneMatch?: string } = {}): Promise<void> {
    await this.client.send(
      new PutObjectCommand({
        Bucket: this.bucket,
        Key: `${this.prefix}${path}`,
        Body: text,
        ContentType: "application/json",
        ChecksumAlgorithm: "SHA256",
        ...this.encryption,
        ...condition,
      }),
    );
  }

  /**
   * Uploads a stream in parts, several at a time, each with its SHA-256. When it fails, what was uploaded is
   * dropped and the source destroyed.
   * @param expectedBytes what the size of the parts is chosen by
   * @returns how many bytes there were
   */
  async upload(path: string, source: Readable, expectedBytes = 0): Promise<number> {
    const partSize = Math.min(maxPartBytes, Math.max(this.partBytes, Math.ceil(expectedBytes / maxParts)));
    let bytes = 0;
    const counted = async function* () {
      for await (const chunk of source as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        yield chunk;
      }
    };
    const upload = new Upload({
      client: this.client,
      params: {
        Bucket: this.bucket,
        Key: `${this.prefix}${path}`,
        Body: Readable.from(counted(), { objectMode: false }),
        ChecksumAlgorithm: "SHA256",
        ...this.encryption,
      },
      partSize,
      queueSize: 4,
    });
    try {
      await upload.done();
      return bytes;
    } catch (error) {
      source.destroy();
      throw tooManyParts(error) ?? awsError(error, `write ${this.location}/${path}`);
    }
  }

  /** In a versioned bucket the versions stay, hidden. */
  async delete(paths: readonly string[]): Promise<void> {
    for (let from = 0; from < paths.length; from += deletedAtOnce) {
      const some = paths.slice(from, from + deletedAtOnce);
      await calling(`delete from ${this.location}`, async () => {
        const { Errors = [] } = await this.client.send(
          new DeleteObjectsCommand({
            Bucket: this.bucket,
            Delete: { Objects: some.map((path) => ({ Key: `${this.prefix}${path}` })), Quiet: true },
          }),
        );
        const [first] = Errors;
        if (first === undefined) return;
        const error = new Error(`${first.Key}: ${first.Message}`);
        error.name = first.Code ?? "Error";
        throw error;
      });
    }
  }

  /** Drops the parts of uploads below `path` that nobody completed. @returns their paths */
  async abortUploads(path: string): Promise<string[]> {
    const aborted: string[] = [];
    await calling(`drop unfinished uploads below ${this.location}/${path}`, async () => {
      const Prefix = `${this.prefix}${path}`;
      let from: { KeyMarker?: string; UploadIdMarker?: string } = {};
      while (true) {
        const page = await this.client.send(
          new ListMultipartUploadsCommand({ Bucket: this.bucket, Prefix, ...from }),
        );
        for (const { Key = "", UploadId } of page.Uploads ?? []) {
          if (!Key.startsWith(Prefix)) continue;
          const dropping = new AbortMultipartUploadCommand({ Bucket: this.bucket, Key, UploadId });
          await this.client.send(dropping).catch((error: unknown) => {
            if (!isNamed(error, "NoSuchUpload")) throw error;
          });
          aborted.push(Key.slice(this.prefix.length));
        }
        if (page.IsTruncated !== true || page.NextKeyMarker === undefined) return;
        from = {
          KeyMarker: page.NextKeyMarker,
          ...(page.NextUploadIdMarker === undefined ? {} : { UploadIdMarker: page.NextUploadIdMarker }),
        };
      }
    });
    return aborted;
  }

  /** What object lock says about the current version. @returns undefined when it is free, or does not exist */
  async lockOf(path: string, now: Date): Promise<{ by: string; until: Date | null } | undefined> {
    try {
      const head = await this.client.send(
        new HeadObjectCommand({ Bucket: this.bucket, Key: `${this.prefix}${path}` }),
      );
      if (head.ObjectLockLegalHoldStatus === "ON") return { by: "legal hold", until: null };
      const until = head.ObjectLockRetainUntilDate;
      if (until === undefined || until <= now) return undefined;
      return { by: `object lock (${(head.ObjectLockMode ?? "").toLowerCase()})`, until };
    } catch (error) {
      if (isNamed(error, "NotFound", "NoSuchKey")) return undefined;
      throw awsError(error, `look at ${this.location}/${path}`);
    }
  }

  close(): void {
    this.client.destroy();
  }
}

function tooManyParts(error: unknown): PgkeepError | undefined {
  if (!/Exceeded 10000 parts/.test(errorMessage(error))) return undefined;
  return new PgkeepError(
    "refused",
    "the dump is larger than its tables let expect: one object takes no more parts",
    {
      remedy: "dump with --format directory, whose files are smaller",
      cause: error,
    },
  );
}
