import { chmod, mkdir, readdir, readFile, rename, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isAlive } from "./processes.ts";
import type { SandboxState } from "./state.ts";

/** What a running sandbox leaves where other processes of the same user find it: where its state is. */
interface Pointer {
  pid: number;
  directory: string;
  startedAt: string;
}

/** Writes `sandbox.json` into the sandbox's directory, whole or not at all, readable by its owner only. */
export async function saveState(state: SandboxState): Promise<void> {
  await writeAtomically(join(state.directory, "sandbox.json"), state);
}

/**
 * Lets `findSandbox` find this sandbox. Resolves to a function that withdraws it. When the home directory is
 * not writable, a private directory among the temporary files is used.
 */
export async function announceSandbox(
  homeDirectory: string,
  state: SandboxState,
): Promise<() => Promise<void>> {
  const pointer: Pointer = { pid: state.pid, directory: state.directory, startedAt: state.startedAt };
  let failure: unknown;
  for (const directory of pointerDirectories(homeDirectory)) {
    const file = join(directory, `${state.pid}.json`);
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      if (!(await isOurs(directory))) throw new Error(`${directory} belongs to another account`);
      await chmod(directory, 0o700);
      await writeAtomically(file, pointer);
      return async () => {
        await rm(file, { force: true });
        await rmdir(directory).catch(() => {}); // another sandbox is announced there
      };
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/**
 * The newest running sandbox of this user, or undefined. Pointers to sandboxes that are gone are removed;
 * pointers of other accounts are not believed.
 */
export async function findSandbox(homeDirectory: string): Promise<SandboxState | undefined> {
  const found: SandboxState[] = [];
  for (const directory of pointerDirectories(homeDirectory)) {
    if (!(await isOurs(directory))) continue;
    for (const name of await readdir(directory)) {
      if (!/^\d+\.json$/.test(name)) continue;
      const file = join(directory, name);
      const state = await follow(file);
      if (state === undefined) await rm(file, { force: true }).catch(() => {});
      else found.push(state);
    }
  }
  return found.sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1))[0];
}

function pointerDirectories(homeDirectory: string): string[] {
  return [
    join(homeDirectory, ".local", "state", "pgkeep", "sandboxes"),
    join(tmpdir(), `pgkeep-sandboxes-${process.getuid?.() ?? 0}`),
  ];
}

async function follow(file: string): Promise<SandboxState | undefined> {
  if (!(await isOurs(file))) return undefined;
  const pointer = await readJson<Pointer>(file);
  if (pointer === undefined || !isAlive(pointer.pid)) return undefined;
  const stateFile = join(pointer.directory, "sandbox.json");
  if (!(await isOurs(stateFile))) return undefined;
  const state = await readJson<SandboxState>(stateFile);
  // A new process may have got the old one's id: its sandbox's directory is gone, or names another process.
  return state?.formatVersion === 1 && state.pid === pointer.pid ? state : undefined;
}

/** Exists, and nobody else could have made it. */
async function isOurs(path: string): Promise<boolean> {
  const status = await stat(path).catch(() => undefined);
  if (status === undefined) return false;
  const self = process.getuid?.();
  return self === undefined || (status.uid === self && (status.mode & 0o022) === 0);
}

async function readJson<T>(file: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as T;
  } catch {
    return undefined;
  }
}

async function writeAtomically(file: string, value: unknown): Promise<void> {
  const partial = `${file}.${process.pid}.partial`;
  await writeFile(partial, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
  await rename(partial, file);
}
