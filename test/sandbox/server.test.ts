import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect } from "../../lib/postgres/connect.ts";
import { findBinaries } from "../../lib/sandbox/binaries.ts";
import { freePort } from "../../lib/sandbox/free-port.ts";
import { canReach, findOwner, giveTo, spawnAs } from "../../lib/sandbox/owner.ts";
import { isAlive, readPostmasterFile, serverProcesses } from "../../lib/sandbox/processes.ts";
import {
  changeSettings,
  crashServer,
  initCluster,
  isRunning,
  type ServerFiles,
  startServer,
  stopServer,
} from "../../lib/sandbox/server.ts";
import { defaultMajor, fastestParent } from "../helpers/postgres.ts";

const superuser = { user: "Odd user", password: "pass'word\\" };
let root: string;
let files: ServerFiles;

beforeAll(async () => {
  root = await mkdtemp(join(fastestParent(), "pgkeep-test-"));
  const owner = await findOwner();
  await giveTo(owner, root);
  const { binDirectory } = await findBinaries(defaultMajor, owner, root);
  files = { dataDirectory: join(root, "it's data"), binDirectory, owner };
  await initCluster(files, superuser, { major: defaultMajor, walSegmentMegabytes: 1 });
  await changeSettings(files, { fsync: false });
});

afterAll(async () => {
  await stopServer(files.dataDirectory, "immediate");
  await rm(root, { recursive: true });
});

async function ask<T>(port: number, sql: string): Promise<T | undefined> {
  const session = await connect({ host: "127.0.0.1", port, database: "postgres", ...superuser });
  try {
    return (await session.query<T>(sql))[0];
  } finally {
    await session.close();
  }
}

async function listenOn(port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

describe("a server", () => {
  it("accepts connections once it has started, and is gone once it has stopped", async () => {
    const { port, pid } = await startServer(files);
    expect(await ask(port, "select 1 as one")).toEqual({ one: 1 });
    expect(await isRunning(files.dataDirectory)).toBe(true);
    await stopServer(files.dataDirectory);
    expect(await isRunning(files.dataDirectory)).toBe(false);
    expect(isAlive(pid)).toBe(false);
    expect(await serverProcesses(files.dataDirectory)).toEqual([]);
  });

  it("does not run as root, and inherits nothing of our environment", async () => {
    process.env.PGOPTIONS = "-c work_mem=1MB";
    try {
      const { port, pid } = await startServer(files);
      expect(await ask(port, "select 1 as one")).toEqual({ one: 1 });
      if (process.platform === "linux") {
        const status = await readFile(`/proc/${pid}/status`, "utf8");
        expect(/^Uid:\s+(\d+)/m.exec(status)?.[1]).toBe(String(files.owner?.uid ?? process.getuid?.()));
        expect(await readFile(`/proc/${pid}/environ`, "utf8")).not.toContain("PGOPTIONS");
      }
    } finally {
      delete process.env.PGOPTIONS;
      await stopServer(files.dataDirectory);
    }
  });

  it("recovers what it acknowledged before a kill -9, on the same port", async () => {
    const first = await startServer(files);
    await ask(first.port, "create table public.kept as select 42 as answer");
    await crashServer(files.dataDirectory);
    expect(await isRunning(files.dataDirectory)).toBe(false);
    expect(await serverProcesses(files.dataDirectory)).toEqual([]);
    const second = await startServer(files, { port: first.port });
    expect(second.port).toBe(first.port);
    expect(await ask(second.port, "select answer from public.kept")).toEqual({ answer: 42 });
    await stopServer(files.dataDirectory);
  });

  it("says so when its fixed port is taken", async () => {
    const port = await freePort();
    const squatter = await listenOn(port);
    try {
      await expect(startServer(files, { port })).rejects.toMatchObject({
        code: "start-failed",
        remedy: `free port ${port} on 127.0.0.1, or choose another`,
      });
      expect(await isRunning(files.dataDirectory)).toBe(false);
    } finally {
      squatter.close();
    }
  });

  it("shows its last words when it cannot start, and none of earlier starts", async () => {
    await changeSettings(files, { shared_buffers: "1 parsec" });
    const failed = startServer(files);
    await expect(failed).rejects.toMatchObject({ message: expect.stringContaining("1 parsec") });
    await expect(failed).rejects.not.toMatchObject({ message: expect.stringContaining("shutting down") });
    await changeSettings(files, { shared_buffers: null });
  });

  it("is stopped when waiting for it is given up", async () => {
    const controller = new AbortController();
    const starting = startServer(files, { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("given up")), 1);
    await starting.then(
      () => stopServer(files.dataDirectory),
      (error: Error) => expect(error.message).toBe("given up"),
    );
    expect(await isRunning(files.dataDirectory)).toBe(false);
    await expect(startServer(files, { timeoutMilliseconds: -1 })).rejects.toMatchObject({
      code: "start-failed",
      message: expect.stringContaining("in time"),
    });
    expect(await isRunning(files.dataDirectory)).toBe(false);
  });

  it("is not confused by a stranger that has the process id of its pid file", async () => {
    const stranger = spawnAs(null, "/bin/sleep", ["60"], { stdio: "ignore", cwd: "/" });
    const pidFile = join(files.dataDirectory, "postmaster.pid");
    await writeFile(pidFile, `${stranger.pid}\n${files.dataDirectory}\n0\n1\n\n\n0 0\nready   \n`);
    expect((await readPostmasterFile(files.dataDirectory))?.pid).toBe(stranger.pid);
    if (process.platform === "linux") {
      expect(await isRunning(files.dataDirectory)).toBe(false);
      await stopServer(files.dataDirectory);
      await crashServer(files.dataDirectory);
      expect(isAlive(stranger.pid as number)).toBe(true);
    }
    stranger.kill("SIGKILL");
    await rm(pidFile);
  });
});

describe("settings", () => {
  it("survive as they are, whatever they contain, and win over ALTER SYSTEM", async () => {
    const text = `it's a \\ "test" $HOME %p # x`;
    await changeSettings(files, { "pgkeep.text": text, work_mem: "7MB" });
    const { port } = await startServer(files);
    await ask(port, "alter system set work_mem = '9MB'");
    await ask(port, "alter system set maintenance_work_mem = '11MB'");
    await stopServer(files.dataDirectory);
    await changeSettings(files, { work_mem: "8MB" });
    const again = await startServer(files);
    expect(
      await ask(
        again.port,
        `select current_setting('pgkeep.text') as text, current_setting('work_mem') as ours,
                current_setting('maintenance_work_mem') as theirs`,
      ),
    ).toEqual({ text, ours: "8MB", theirs: "11MB" });
    await stopServer(files.dataDirectory);
  });
});

describe("finding an account for the servers", () => {
  it.skipIf(process.getuid?.() !== 0)("takes the first known one, never root", async () => {
    const passwd = join(root, "passwd");
    await writeFile(
      passwd,
      "root:x:0:0::/:/bin/sh\nnode:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/\n",
    );
    expect(await findOwner(passwd)).toEqual({ uid: 1000, gid: 1000 });
    await writeFile(passwd, "root:x:0:0::/:/bin/sh\npostgres:x:0:0::/:/bin/sh\n");
    await expect(findOwner(passwd)).rejects.toMatchObject({
      code: "start-failed",
      remedy: expect.stringContaining("ordinary user"),
    });
  });

  it("knows which paths that account can reach", async () => {
    const stranger = { uid: 65_533, gid: 65_533 };
    const file = join(root, "passwd");
    await writeFile(file, "");
    await chmod(root, 0o700);
    expect(await canReach(stranger, file)).toBe(false);
    await chmod(root, 0o711);
    expect(await canReach(stranger, file)).toBe(true);
    await chmod(file, 0o600);
    expect(await canReach(stranger, file)).toBe(false);
    expect(await canReach(null, join(root, "absent"))).toBe(true);
  });
});
