import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { GetObjectCommand, type GetObjectCommandOutput, type S3Client } from "@aws-sdk/client-s3";
import { PgkeepError } from "../errors.ts";
import { awsError, isNamed } from "./errors.ts";

const rangeBytes = 16 * 1024 * 1024;
const attempts = 5;

interface Range {
  bytes: Buffer;
  /** Of the whole object. */
  total: number;
  etag: string | undefined;
}

/**
 * An object as a stream, fetched in ranges of which one is fetched ahead: whoever reads may take his time (a
 * restore that builds indexes) without the connection being closed meanwhile, and a lost connection costs one
 * range. That it is one and the same object all the time, S3 checks by its tag.
 * @throws PgkeepError `not-found` before anything is read
 */
export async function readObject(
  client: S3Client,
  bucket: string,
  key: string,
  bytesPerRange = rangeBytes,
): Promise<Readable> {
  const fetchFrom = (from: number, etag?: string) => range(client, bucket, key, from, bytesPerRange, etag);
  const first = await fetchFrom(0);
  return Readable.from(following(first, fetchFrom), { objectMode: false, highWaterMark: 256 * 1024 });
}

async function* following(
  first: Range,
  fetchFrom: (from: number, etag?: string) => Promise<Range>,
): AsyncGenerator<Buffer> {
  let current = first;
  let read = 0;
  while (true) {
    read += current.bytes.length;
    const next = read < first.total ? fetchFrom(read, first.etag) : undefined;
    // Awaited below; a reader who leaves before that must not be told.
    next?.catch(() => {});
    if (current.bytes.length > 0) yield current.bytes;
    if (next === undefined) return;
    current = await next;
  }
}

async function range(
  client: S3Client,
  bucket: string,
  key: string,
  from: number,
  length: number,
  etag: string | undefined,
): Promise<Range> {
  for (let attempt = 1; ; attempt += 1) {
    let answer: GetObjectCommandOutput;
    try {
      answer = await client.send(
        new GetObjectCommand({
          Bucket: bucket,
          Key: key,
          Range: `bytes=${from}-${from + length - 1}`,
          ...(etag === undefined ? {} : { IfMatch: etag }),
        }),
      );
    } catch (error) {
      if (from === 0 && isNamed(error, "InvalidRange")) return { bytes: Buffer.alloc(0), total: 0, etag };
      if (isNamed(error, "PreconditionFailed")) {
        throw new PgkeepError("backup-invalid", `s3://${bucket}/${key} was replaced while it was read`, {
          remedy: "run it again",
          cause: error,
        });
      }
      throw awsError(error, `read s3://${bucket}/${key}`);
    }
    try {
      const bytes = Buffer.from((await answer.Body?.transformToByteArray()) ?? []);
      const total = Number(/\/(\d+)$/.exec(answer.ContentRange ?? "")?.[1] ?? bytes.length);
      if (bytes.length !== Math.min(length, total - from)) throw new Error("the connection was lost");
      return { bytes, total, etag: answer.ETag };
    } catch (error) {
      // What the SDK repeats by itself ends with the answer's head.
      if (attempt === attempts) throw awsError(error, `read s3://${bucket}/${key}`);
      await delay(200 * 2 ** attempt);
    }
  }
}
