import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll } from "vitest";

/** The emulator of AWS's wire protocols; one version, so that what it does not implement is known. */
const version = "5.2.5";
const run = promisify(execFile);

const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "pgkeep-tests");
const environment = join(cache, `moto-${version}`);
const python = join(environment, "bin", "python");

/** Why AWS cannot be emulated here, or undefined when it can. Pass it to `describe.skipIf` and print it. */
export const noMoto: string | undefined =
  existsSync(python) || spawnSync("python3", ["-c", "import venv, ensurepip"]).status === 0
    ? undefined
    : "AWS is not emulated: there is no python3 with venv";

export interface Moto {
  /** `http://127.0.0.1:PORT`, in tests and hooks. */
  readonly endpoint: string;
  /** Forgets everything that was made. */
  reset(): Promise<void>;
}

export const motoCredentials = { accessKeyId: "testing", secretAccessKey: "testing" };

export interface MotoOptions {
  /** Where its own services find the others, when not at itself; asked for when it starts. */
  ownEndpointPort?: () => number;
  /** Objects on one page of a list, 1000 by default as on AWS. */
  listPageSize?: number;
}

/** An emulator for this file (or `describe` block) on a free port, stopped after the last test. */
export function useMoto({ ownEndpointPort, listPageSize }: MotoOptions = {}): Moto {
  let server: ChildProcess | undefined;
  let endpoint = "";
  beforeAll(async () => {
    await install();
    const port = await freePort();
    endpoint = `http://127.0.0.1:${port}`;
    server = spawn(python, ["-m", "moto.server", "-H", "127.0.0.1", "-p", String(port)], {
      stdio: "ignore",
      env: {
        ...process.env,
        ...(ownEndpointPort === undefined ? {} : { MOTO_PORT: String(ownEndpointPort()) }),
        ...(listPageSize === undefined ? {} : { MOTO_S3_DEFAULT_MAX_KEYS: String(listPageSize) }),
      },
    });
    await answering(server, `${endpoint}/moto-api/data.json`);
  }, 600_000);
  afterAll(async () => {
    if (server === undefined || server.exitCode !== null) return;
    const gone = new Promise((resolve) => server?.once("exit", resolve));
    server.kill("SIGKILL");
    await gone;
  });
  return {
    get endpoint() {
      return endpoint;
    },
    async reset() {
      await fetch(`${endpoint}/moto-api/reset`, { method: "POST" });
    },
  };
}

/** Made under another name first, so that two test files never see half of it. */
async function install(): Promise<void> {
  if (existsSync(python)) return;
  await mkdir(cache, { recursive: true });
  const temporary = `${environment}.${process.pid}`;
  try {
    await run("python3", ["-m", "venv", temporary]);
    await run(join(temporary, "bin", "python"), [
      "-m",
      "pip",
      "install",
      "--quiet",
      "--disable-pip-version-check",
      `moto[server]==${version}`,
    ]);
    await rename(temporary, environment).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function answering(server: ChildProcess, url: string): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt += 1) {
    if (server.exitCode !== null) throw new Error(`moto ended with ${server.exitCode}`);
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok === true) return;
    await delay(100);
  }
  throw new Error("moto did not answer within 30 s");
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
