import * as z from "zod";
import { UsageError } from "../errors.ts";
import { parseTableName, type TableName } from "../maintenance/table-name.ts";

/** What a person may ask of a run; a schedule asks nothing. */
export type VacuumArguments = {
  /** Only these, whether due or not; a partitioned table stands for its partitions. */
  tables?: TableName[];
  /** VACUUM FULL of the tables named: rewrites them under an ACCESS EXCLUSIVE lock. */
  full?: boolean;
  /** Every table, whether due or not. */
  wholeDatabase?: boolean;
  /** Instead of `maintenance.vacuum.budgetSeconds`. */
  budgetSeconds?: number;
  /** Vacuum nothing: say how autovacuum does on each table, and what to set otherwise. */
  advice?: boolean;
};

const name = z.string().min(1);
const schema = z.strictObject({
  tables: z
    .array(z.union([name, z.strictObject({ schema: name, table: name })]))
    .min(1)
    .max(10_000)
    .optional(),
  full: z.boolean().optional(),
  wholeDatabase: z.boolean().optional(),
  budgetSeconds: z.number().min(1).max(86_400).optional(),
  advice: z.boolean().optional(),
});

/** @throws UsageError naming every wrong argument, or a combination that is refused */
export function parseVacuumArguments(value: unknown): VacuumArguments {
  const parsed = schema.safeParse(value ?? {});
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => {
      const path = issue.path.join(".");
      return path === "" ? issue.message : `${path}: ${issue.message}`;
    });
    throw new UsageError(`the arguments of vacuum are wrong: ${problems.join("; ")}`, {
      remedy: "it takes tables, full, wholeDatabase, budgetSeconds and advice",
    });
  }
  const { tables, full, wholeDatabase, budgetSeconds, advice } = parsed.data;
  if (full === true && tables === undefined) {
    throw new UsageError("VACUUM FULL is done only to tables that are named", {
      remedy: "name them in `tables`: each is locked against reads and writes while it is rewritten",
    });
  }
  if (wholeDatabase === true && tables !== undefined) {
    throw new UsageError("`tables` and `wholeDatabase` exclude each other", { remedy: "give one of them" });
  }
  if (advice === true && (full === true || wholeDatabase === true || budgetSeconds !== undefined)) {
    throw new UsageError("`advice` vacuums nothing: it goes with `tables` only", {
      remedy: "give it alone for every table, or with `tables` for some",
    });
  }
  return {
    ...(tables === undefined
      ? {}
      : { tables: tables.map((table) => (typeof table === "string" ? parseTableName(table) : table)) }),
    ...(full === undefined ? {} : { full }),
    ...(wholeDatabase === undefined ? {} : { wholeDatabase }),
    ...(budgetSeconds === undefined ? {} : { budgetSeconds }),
    ...(advice === undefined ? {} : { advice }),
  };
}
