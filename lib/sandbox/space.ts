import { PgkeepError } from "../errors.ts";

const outOfSpace = ["ENOSPC", "EDQUOT", "EFBIG"];

/** Says in one sentence that there was no room; any other error goes through. `what`: e.g. `the backup x`. */
export function explainSpace(error: unknown, what: string, directory: string): unknown {
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  if (code === undefined || !outOfSpace.includes(code)) return error;
  return new PgkeepError(
    "statement-failed",
    `no space left in ${directory} for ${what}; nothing of it was kept`,
    {
      remedy: "make room there, then run it again",
      cause: error,
    },
  );
}
