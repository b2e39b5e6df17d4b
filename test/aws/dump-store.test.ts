import { Readable } from "node:stream";
import {
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectLockConfigurationCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { describe, expect, it } from "vitest";
import { parseBucketPlace } from "../../lib/aws/bucket-place.ts";
import { openBucketStore } from "../../lib/aws/dump-store.ts";
import type { ObjectsOptions } from "../../lib/aws/objects.ts";
import { motoCredentials, noMoto, useMoto } from "../helpers/moto.ts";
import { dumpStoreContract } from "../ports/dump-store.contract.ts";

const region = "eu-west-1";

describe.skipIf(noMoto !== undefined)(
  `dumps in a bucket${noMoto === undefined ? "" : ` (${noMoto})`}`,
  () => {
    // Pages so short that every list has several.
    const moto = useMoto({ listPageSize: 3 });
    const settings = () => ({ region, endpoint: moto.endpoint, credentials: motoCredentials });
    const s3 = () => new S3Client({ ...settings(), forcePathStyle: true });
    let made = 0;
    const bucket = async (kind: "plain" | "versioned" | "locked" = "plain") => {
      made += 1;
      const Bucket = `pgkeep-test-${made}`;
      await s3().send(
        new CreateBucketCommand({
          Bucket,
          CreateBucketConfiguration: { LocationConstraint: region },
          ObjectLockEnabledForBucket: kind === "locked",
        }),
      );
      if (kind === "versioned") {
        await s3().send(
          new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: "Enabled" } }),
        );
      }
      if (kind === "locked") {
        await s3().send(
          new PutObjectLockConfigurationCommand({
            Bucket,
            ObjectLockConfiguration: {
              ObjectLockEnabled: "Enabled",
              Rule: { DefaultRetention: { Mode: "COMPLIANCE", Days: 30 } },
            },
          }),
        );
      }
      return Bucket;
    };
    const open = (Bucket: string, options: ObjectsOptions = {}) =>
      openBucketStore(`s3://${Bucket}/dumps`, { ...settings(), partBytes: 5 * 1024 * 1024, ...options });
    const add = async (Bucket: string, id: string, options: ObjectsOptions = {}) => {
      const draft = await (await open(Bucket, options)).begin(id);
      await draft.write("dump.pgdump", Readable.from([Buffer.from("data")]));
      await draft.commit("{}");
    };
    const abandonedOwner = {
      host: "another-machine",
      pid: 1,
      processStart: null,
      startedAt: "2020-01-01T00:00:00Z",
    };

    for (const kind of ["plain", "locked"] as const) {
      // The emulator looks whether an object is there, and then writes it: S3 does both at once.
      const attempts = 4;
      dumpStoreContract(
        `a ${kind} bucket`,
        async () => {
          const Bucket = await bucket(kind);
          return () => open(Bucket);
        },
        attempts,
      );
    }

    it("stores each object with its SHA-256, and with the key of KMS that is asked for", async () => {
      const Bucket = await bucket();
      await add(Bucket, "sealed", { kmsKey: "alias/dumps" });
      for (const Key of ["dumps/sealed/dump.pgdump", "dumps/sealed/manifest.json"]) {
        const head = await s3().send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
        expect(head.ServerSideEncryption).toBe("aws:kms");
        expect(head.SSEKMSKeyId).toContain("alias/dumps");
        expect(head.ChecksumSHA256).toMatch(/^[A-Za-z0-9+/]{43}=$/);
      }
    });

    it("drops the parts of an upload whose source breaks", async () => {
      const Bucket = await bucket();
      const draft = await (await open(Bucket)).begin("broken");
      const block = Buffer.alloc(6 * 1024 * 1024);
      const source = Readable.from(
        (async function* () {
          yield block;
          yield block;
          throw new Error("pg_dump was killed");
        })(),
        { objectMode: false },
      );
      await expect(draft.write("dump.pgdump", source)).rejects.toThrow("pg_dump was killed");
      expect(source.destroyed).toBe(true);
      expect((await s3().send(new ListMultipartUploadsCommand({ Bucket }))).Uploads).toBeUndefined();
    });

    /** As a killed process leaves it: the sign of its owner, one part of an upload, no manifest. */
    const leave = async (Bucket: string, id: string, owner: object) => {
      const Key = `dumps/${id}/dump.pgdump`;
      await s3().send(
        new PutObjectCommand({ Bucket, Key: `dumps/${id}/owner.json`, Body: JSON.stringify(owner) }),
      );
      const { UploadId } = await s3().send(new CreateMultipartUploadCommand({ Bucket, Key }));
      await s3().send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: "half" }));
    };

    it("lists a killed run as interrupted, and sweeps it with its unfinished upload", async () => {
      const Bucket = await bucket("versioned");
      const dead = { ...abandonedOwner, host: (await import("node:os")).hostname(), pid: 2 ** 22 + 1 };
      await leave(Bucket, "dead", dead);
      await leave(Bucket, "theirs", abandonedOwner);
      await add(Bucket, "whole");
      const store = await open(Bucket);
      const states = async () => Object.fromEntries((await store.list()).map(({ id, state }) => [id, state]));
      // What another machine began a moment ago may still be running there.
      expect(await states()).toEqual({ dead: "interrupted", theirs: "running", whole: "complete" });
      expect(await store.sweep({ dryRun: true })).toEqual(["dead"]);
      expect(await states()).toMatchObject({ dead: "interrupted" });
      expect(await store.sweep({ dryRun: false })).toEqual(["dead"]);
      expect(await states()).toEqual({ theirs: "running", whole: "complete" });
      const { Uploads = [] } = await s3().send(new ListMultipartUploadsCommand({ Bucket }));
      expect(Uploads.map(({ Key }) => Key)).toEqual(["dumps/theirs/dump.pgdump"]);
    });

    it("takes what a killed deletion left for no backup, and ends the deletion", async () => {
      const Bucket = await bucket();
      for (const [name, body] of [
        ["deleting.json", "{}"],
        ["dump.pgdump", "data"],
      ] as const) {
        await s3().send(new PutObjectCommand({ Bucket, Key: `dumps/old/${name}`, Body: body }));
      }
      const store = await open(Bucket);
      expect(await store.list()).toMatchObject([{ id: "old", state: "interrupted" }]);
      expect(await store.sweep({ dryRun: false })).toEqual(["old"]);
      expect(await store.list()).toEqual([]);
    });

    it("leaves alone what is not its own", async () => {
      const Bucket = await bucket();
      for (const Key of [
        "dumps/notes.txt",
        "dumps/photos/1.jpg",
        "dumps/",
        "dumps/A B/x",
        "else/shop/manifest.json",
      ])
        await s3().send(new PutObjectCommand({ Bucket, Key, Body: Key.endsWith("/") ? "" : "mine" }));
      const store = await open(Bucket);
      const found = (await store.list()).map(({ id, state }) => [id, state]).sort();
      expect(found).toEqual([
        ["A B", "foreign"],
        ["notes.txt", "foreign"],
        ["photos", "foreign"],
      ]);
      expect(await store.sweep({ dryRun: false })).toEqual([]);
      await expect(store.begin("photos")).rejects.toThrow("is being made already");
    });

    it("commits nothing after somebody removed a part of the draft", async () => {
      const Bucket = await bucket();
      const draft = await (await open(Bucket)).begin("robbed");
      await draft.write("dump.pgdump", Readable.from([Buffer.from("data")]));
      await draft.write("more.pgdump", Readable.from([Buffer.from("data")]));
      await draft.remove("more.pgdump");
      await s3().send(new PutObjectCommand({ Bucket, Key: "dumps/robbed/dump.pgdump", Body: "dat" }));
      await expect(draft.commit("{}")).rejects.toThrow("dump.pgdump of robbed is not in s3://");
      expect(await (await open(Bucket)).readText("robbed", "manifest.json")).toBeUndefined();
    });

    it("never writes a second manifest over the first", async () => {
      const Bucket = await bucket();
      const draft = await (await open(Bucket)).begin("twice");
      await s3().send(new PutObjectCommand({ Bucket, Key: "dumps/twice/manifest.json", Body: "first" }));
      await expect(draft.commit("second")).rejects.toThrow("exists already");
      expect(await (await open(Bucket)).readText("twice", "manifest.json")).toBe("first");
    });

    it("says what object lock still keeps", async () => {
      const Bucket = await bucket("locked");
      await add(Bucket, "kept");
      const lock = await (await open(Bucket)).lockOf?.("kept");
      expect(lock?.by).toBe("object lock (compliance)");
      expect((lock?.until?.getTime() ?? 0) - Date.now()).toBeGreaterThan(29 * 86_400_000);
      const free = await bucket();
      await add(free, "free");
      expect(await (await open(free)).lockOf?.("free")).toBeUndefined();
    });

    it("hides what it deletes from a versioned bucket, and can store it anew", async () => {
      const Bucket = await bucket("versioned");
      await add(Bucket, "again");
      await (await open(Bucket)).remove("again");
      const { Versions = [], DeleteMarkers = [] } = await s3().send(
        new ListObjectVersionsCommand({ Bucket, MaxKeys: 100 }),
      );
      expect(Versions.map(({ Key }) => Key)).toContain("dumps/again/dump.pgdump");
      expect(DeleteMarkers.map(({ Key }) => Key)).toContain("dumps/again/manifest.json");
      await add(Bucket, "again");
      expect(await (await open(Bucket)).list()).toMatchObject([{ id: "again", state: "complete" }]);
    });

    it("reads all pages of a long list", async () => {
      const Bucket = await bucket();
      const paths = Array.from({ length: 20 }, (_, n) => `dump/${n}.dat`);
      const draft = await (await open(Bucket)).begin("many");
      for (const path of paths) await draft.write(path, Readable.from([Buffer.from("x")]));
      await draft.commit("{}");
      const store = await open(Bucket);
      expect((await store.files("many")).map(({ path }) => path).sort()).toEqual(
        [...paths, "manifest.json"].sort(),
      );
      await store.remove("many");
      expect(await store.list()).toEqual([]);
    });

    it("says what is wrong when there is no such bucket", async () => {
      await expect((await open("pgkeep-never-made")).list()).rejects.toMatchObject({
        code: "not-found",
        message: expect.stringContaining("list s3://pgkeep-never-made/dumps"),
      });
    });
  },
);

describe("the name of a place in a bucket", () => {
  it.each([
    ["s3://bucket", { bucket: "bucket", prefix: "" }],
    ["s3://bucket/", { bucket: "bucket", prefix: "" }],
    ["s3://my.bucket/a/b/", { bucket: "my.bucket", prefix: "a/b/" }],
    ["S3://bucket//a//b", { bucket: "bucket", prefix: "a/b/" }],
    ["s3://bucket/with space é", { bucket: "bucket", prefix: "with space é/" }],
  ])("%s is read", (text, place) => {
    expect(parseBucketPlace(text)).toEqual(place);
  });

  it.each([
    "s3://",
    "s3:///x",
    "s3://UPPER/x",
    "s3://ab/x",
    "s3://a..b/x",
    "s3://bucket/../x",
    "s3://bucket/a\nb",
  ])("%j is refused", (text) => {
    expect(() => parseBucketPlace(text)).toThrow("names no bucket");
  });
});
