import { open, rm, stat } from "node:fs/promises";
import { giveTo } from "../owner.ts";
import { explainSpace } from "../space.ts";
import type { SandboxState } from "../state.ts";

/** A file that shows this size and takes no room: nothing is ever written to it. */
export async function makeBallast(state: SandboxState, file: string, bytes: number): Promise<void> {
  const handle = await open(file, "wx", 0o600);
  try {
    await handle.truncate(bytes);
    await giveTo(state.owner, file);
  } catch (error) {
    await rm(file, { force: true });
    throw explainSpace(error, "a file without content", file);
  } finally {
    await handle.close();
  }
}

/** What the file shows; undefined when it is not there. */
export async function ballastBytes(file: string): Promise<number | undefined> {
  return stat(file).then(
    ({ size }) => size,
    () => undefined,
  );
}

/** Resolves to false when it was not there. */
export async function removeBallast(file: string): Promise<boolean> {
  if ((await ballastBytes(file)) === undefined) return false;
  await rm(file, { force: true });
  return true;
}
