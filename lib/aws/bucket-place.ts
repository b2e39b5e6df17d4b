import { UsageError } from "../errors.ts";

/** A prefix of a bucket. */
export interface BucketPlace {
  bucket: string;
  /** Empty, or ends with a slash. */
  prefix: string;
}

/** Names of buckets of today (Amazon S3 User Guide, General purpose bucket naming rules). */
const bucketName = /^(?=.{3,63}$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])$/;

/** Reads `s3://bucket/prefix`. @throws UsageError */
export function parseBucketPlace(text: string): BucketPlace {
  const [, bucket = "", rest = ""] = /^s3:\/\/([^/]*)(?:\/(.*))?$/is.exec(text) ?? [];
  const parts = rest.split("/").filter((part) => part !== "");
  // Longer keys than 1024 bytes are refused; the names below take up to 400.
  const acceptable = parts.every((part) => part !== "." && part !== ".." && !/\p{Cc}/u.test(part));
  if (!bucketName.test(bucket) || bucket.includes("..") || !acceptable || Buffer.byteLength(rest) > 600) {
    throw new UsageError(`${JSON.stringify(text)} names no bucket with a prefix`, {
      remedy: "write s3://BUCKET/PREFIX",
    });
  }
  return { bucket, prefix: parts.map((part) => `${part}/`).join("") };
}
