import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage, PgkeepError } from "../errors.ts";
import { isUntouched, type Migration } from "../review/fixes.ts";

/**
 * Writes migrations as files. Nothing is written when one of them would replace a file that somebody else has made or
 * edited.
 * @throws PgkeepError `refused`
 */
export async function writeFixes(migrations: readonly Migration[], directory: string): Promise<void> {
  const files = migrations.flatMap(({ up, down }) => [up, down]);
  const foreign: string[] = [];
  for (const { name } of files) {
    const text = await readOrNothing(join(directory, name));
    if (text !== undefined && !isUntouched(text)) foreign.push(name);
  }
  if (foreign.length > 0) {
    throw new PgkeepError(
      "refused",
      `in ${directory}, ${foreign.join(", ")} would be replaced, and pgkeep has not made what is there now`,
      { remedy: "give another directory with --fixes, or remove the files; nothing was written" },
    );
  }
  try {
    await mkdir(directory, { recursive: true });
    for (const { name, text } of files) await writeFile(join(directory, name), text);
  } catch (error) {
    throw new PgkeepError("refused", `migrations cannot be written: ${errorMessage(error)}`, {
      remedy: "give a directory that can be written with --fixes",
      cause: error,
    });
  }
}

async function readOrNothing(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new PgkeepError("refused", `${file} cannot be read: ${errorMessage(error)}`, {
      remedy: "give another directory with --fixes",
      cause: error,
    });
  }
}
