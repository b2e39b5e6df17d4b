import { spawn } from "node:child_process";
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { CreateKeyCommand, KMSClient } from "@aws-sdk/client-kms";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { serializeManifest } from "../../lib/logical/manifest.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { noClientTools, useClientTools } from "../helpers/client-tools.ts";
import { motoCredentials, noMoto, useMoto } from "../helpers/moto.ts";
import { defaultMajor, useServer } from "../helpers/postgres.ts";

const region = "eu-west-1";
const reason = noMoto ?? noClientTools(defaultMajor);

describe.skipIf(reason !== undefined)(`pgkeep dump with a bucket ${reason ?? ""}`, () => {
  const moto = useMoto();
  const server = useServer(defaultMajor);
  const tools = useClientTools(defaultMajor);
  const Bucket = "dumps-of-the-shop";
  const to = `s3://${Bucket}/nightly/shop`;
  let url: string;
  let database: string;
  let key: string;

  const settings = () => ({ region, endpoint: moto.endpoint, credentials: motoCredentials });
  const s3 = () => new S3Client(settings());
  const kms = () => new KMSClient(settings());
  const run = (args: readonly string[], signal?: AbortSignal) =>
    runCli(["dump", ...args, "--url", url, "--to", to, "--json"], {
      clientEnvironment: { PATH: `${tools.directory}:/usr/bin:/bin` },
      ...(signal === undefined ? {} : { signal }),
    });
  const ok = async (...args: string[]) => {
    const { code, stdout, stderr } = await run(args);
    expect(code, stderr + stdout).toBe(0);
    return JSON.parse(stdout);
  };
  const states = async (): Promise<Record<string, string>> => {
    const { dumps } = (await ok("list")) as { dumps: { id: string; state: string }[] };
    return Object.fromEntries(dumps.map(({ id, state }) => [id, state]));
  };
  const rowsOf = async (name: string) => {
    const session = await server.connect(name);
    try {
      const [row] = await session.query<{ hash: string }>(
        "select count(*) || ' ' || md5(string_agg(t::text, '|' order by id)) as hash from public.orders t",
      );
      return row?.hash;
    } finally {
      await session.close();
    }
  };
  /** A transaction that pg_dump waits behind. */
  const lockingOrders = async (work: () => Promise<void>) => {
    const session = await server.connect(database);
    try {
      await session.query("begin");
      await session.query("lock table public.orders in access exclusive mode");
      await work();
    } finally {
      await session.close();
    }
  };
  const untilRunning = async () => {
    while (!Object.values(await states()).includes("running")) await delay(50);
  };
  const waiters = async () => {
    const session = await server.connect("postgres");
    try {
      return await session.query("select from pg_stat_activity where wait_event_type = 'Lock'");
    } finally {
      await session.close();
    }
  };

  beforeAll(async () => {
    vi.stubEnv("AWS_ENDPOINT_URL", moto.endpoint);
    vi.stubEnv("AWS_REGION", region);
    vi.stubEnv("AWS_ACCESS_KEY_ID", motoCredentials.accessKeyId);
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", motoCredentials.secretAccessKey);
    vi.stubEnv("AWS_SESSION_TOKEN", undefined);
    await s3().send(
      new CreateBucketCommand({ Bucket, CreateBucketConfiguration: { LocationConstraint: region } }),
    );
    key = (await kms().send(new CreateKeyCommand({}))).KeyMetadata?.Arn as string;
    database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query(`create table public.orders (id bigserial primary key, note text);
      insert into public.orders (note) select repeat(md5(n::text), 5) || 'PlainWords' from generate_series(1, 3000) n;
      analyze`);
    await session.close();
    url = urlOf(server.target(database));
  });
  afterAll(() => {
    vi.unstubAllEnvs();
  });

  it.each([
    { format: "custom", staged: false },
    { format: "plain", staged: false },
    { format: "tar", staged: false },
    { format: "directory", staged: true },
  ])(
    "keeps a dump in the format $format there, verifies it and restores from there; copied here: $staged",
    async ({ format, staged }) => {
      const temporary = staged ? await mkdtemp(join(tmpdir(), "staging-")) : "/nonexistent";
      vi.stubEnv("TMPDIR", temporary);
      try {
        const { manifest } = await ok("create", "--format", format);
        expect(manifest).toMatchObject({ format, encryption: null });
        expect(await states()).toMatchObject({ [manifest.id]: "complete" });
        expect(await ok("verify", manifest.id, "--deep")).toMatchObject({ ok: true, notAssessable: [] });
        await ok("restore", manifest.id, "--into", `restored_${format}`, "--create");
        expect(await rowsOf(`restored_${format}`)).toBe(await rowsOf(database));
        if (staged) expect(await readdir(temporary)).toEqual([]);
      } finally {
        vi.stubEnv("TMPDIR", undefined);
      }
    },
  );

  it("brings one table back from there beside the original", async () => {
    await ok("create");
    await ok("restore", "--table", "public.orders", "--as", "orders_then");
    const session = await server.connect(database);
    const differing = await session.query(
      "(select * from public.orders except select * from public.orders_then) union all (select * from public.orders_then except select * from public.orders)",
    );
    expect(differing).toEqual([]);
    await session.query("drop table public.orders_then");
    await session.close();
  });

  it("prunes by the same rules, and keeps the newest of the day", async () => {
    await ok("create", "--schema-only");
    await ok("create", "--schema-only");
    const before = Object.keys(await states());
    const pruned = await ok("prune");
    expect(pruned.deleted.length).toBeGreaterThan(0);
    expect(Object.keys(await states()).sort()).toEqual(
      before.filter((id) => !pruned.deleted.some((gone: { id: string }) => gone.id === id)).sort(),
    );
    expect(Object.values(await states())).toContain("complete");
  });

  it("names the object that was changed in the bucket, and the one that is gone", async () => {
    const { manifest } = await ok("create", "--format", "custom");
    const Key = `nightly/shop/${manifest.id}/${manifest.files[0].path}`;
    const { Body } = await s3().send(new GetObjectCommand({ Bucket, Key }));
    const bytes = Buffer.from((await Body?.transformToByteArray()) ?? []);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    await s3().send(new PutObjectCommand({ Bucket, Key, Body: bytes }));
    const changed = await run(["verify", manifest.id]);
    expect(changed.code).not.toBe(0);
    expect(JSON.parse(changed.stdout).problems).toEqual([
      { subject: manifest.files[0].path, problem: "was changed: its checksum differs" },
    ]);
    await s3().send(new DeleteObjectCommand({ Bucket, Key }));
    expect((await run(["verify", manifest.id])).stdout).toContain("is missing");
    const refused = await run(["restore", manifest.id, "--into", "never_made", "--create"]);
    expect(refused.code).toBe(3);
    expect(await server.connect("never_made").catch(() => "none")).toBe("none");
  });

  it("encrypts each dump with a data key of its own, which only the key of KMS opens", async () => {
    const create = ["create", "--kms-key", key, "--compress", "none"];
    const { manifest } = await ok(...create);
    const { manifest: other } = await ok(...create);
    expect(manifest).toMatchObject({ format: "custom", encryption: { wrappedBy: key } });
    expect(manifest.encryption.recipients).not.toEqual(other.encryption.recipients);
    const Key = `nightly/shop/${manifest.id}/${manifest.files[0].path}`;
    const stored = await (await s3().send(new GetObjectCommand({ Bucket, Key }))).Body?.transformToString(
      "latin1",
    );
    expect(stored).toMatch(/^age-encryption\.org\/v1/);
    expect(stored).not.toContain("PlainWords");
    expect(await ok("verify", manifest.id)).toMatchObject({ ok: true, decrypted: true, notAssessable: [] });
    await ok("restore", manifest.id, "--into", "unsealed", "--create");
    expect(await rowsOf("unsealed")).toBe(await rowsOf(database));

    // The key of one dump opens no other: KMS binds it to the backup's name.
    const place = `nightly/shop/${manifest.id}/manifest.json`;
    const swapped = {
      ...manifest,
      encryption: { ...manifest.encryption, wrapped: other.encryption.wrapped },
    };
    await s3().send(new PutObjectCommand({ Bucket, Key: place, Body: serializeManifest(swapped) }));
    const forged = await run(["verify", manifest.id]);
    expect(forged.code, forged.stdout + forged.stderr).toBe(3);
    expect(forged.stderr).toContain("is of another dump, or was changed");
  });

  it("names the key of KMS that it cannot use, and leaves nothing", async () => {
    const unknown = key.replace(/[^/]+$/, "00000000-0000-4000-8000-000000000000");
    const before = await states();
    const { code, stderr } = await run(["create", "--kms-key", unknown]);
    expect(stderr).toContain(`could not make a data key with ${unknown}`);
    expect(code).toBe(3);
    expect(await states()).toEqual(before);
  });

  it("leaves nothing of a dump that is interrupted", async () => {
    const before = await states();
    await lockingOrders(async () => {
      const stop = new AbortController();
      const dumping = run(["create"], stop.signal);
      await untilRunning();
      stop.abort();
      expect((await dumping).code).toBe(3);
    });
    expect(await states()).toEqual(before);
  });

  it("takes what a killed process left for no backup, and removes it with the next prune", async () => {
    const whole = (await ok("create")).manifest.id;
    const before = Object.keys(await states());
    await lockingOrders(async () => {
      const bin = resolve(import.meta.dirname, "../../bin/pgkeep.ts");
      const child = spawn(
        process.execPath,
        ["--import", "tsx", bin, "dump", "create", "--url", url, "--to", to, "--bin-dir", tools.directory],
        { stdio: "ignore" },
      );
      const gone = new Promise((done) => child.once("close", done));
      await untilRunning();
      child.kill("SIGKILL");
      await gone;
    });
    // Its pg_dump ends with the lock: it has nobody to write to.
    while ((await waiters()).length > 0) await delay(50);
    const left = Object.keys(await states()).filter((name) => !before.includes(name));
    expect(left).toHaveLength(1);
    const [id] = left as [string];
    expect((await states())[id]).toBe("interrupted");
    expect((await ok("show")).id).toBe(whole);
    expect((await run(["restore", id, "--into", "half_made", "--create"])).code).toBe(3);
    const pruned = await ok("prune");
    expect(pruned.deleted).toContainEqual({ id, reason: "interrupted" });
    const { Contents = [] } = await s3().send(
      new ListObjectsV2Command({ Bucket, Prefix: `nightly/shop/${id}/` }),
    );
    const { Uploads = [] } = await s3().send(new ListMultipartUploadsCommand({ Bucket }));
    expect([...Contents, ...Uploads]).toEqual([]);
  });
});
