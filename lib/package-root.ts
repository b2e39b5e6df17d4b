import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

function find(): string {
  for (let directory = import.meta.dirname; ; directory = dirname(directory)) {
    if (existsSync(join(directory, "package.json"))) return directory;
    if (directory === dirname(directory)) throw new Error(`no package.json above ${import.meta.dirname}`);
  }
}

/** The directory of pgkeep's package.json, of `sql` and `docs`: the same from the sources and from `dist`. */
export const packageRoot: string = find();
