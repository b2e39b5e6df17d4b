import * as z from "zod";
import { UsageError } from "../errors.ts";
import { parseTableName, type TableName } from "../maintenance/table-name.ts";

/** What a person may ask of a run; a schedule asks nothing. */
export type ReindexArguments = {
  /** Rebuilt whatever their state; a partitioned index stands for the indexes of its partitions. */
  indexes?: IndexName[];
  /** All indexes of these tables, of their partitions and TOAST tables, whatever their state. */
  tables?: TableName[];
  /** Also act on bloat that is certain by the estimate and could not be measured. */
  unconfirmed?: boolean;
  /** Instead of `maintenance.reindex.budgetSeconds`. */
  budgetSeconds?: number;
};

export type IndexName = { schema: string; index: string };

const name = z.string().min(1);
const schema = z.strictObject({
  indexes: z
    .array(z.union([name, z.strictObject({ schema: name, index: name })]))
    .min(1)
    .max(10_000)
    .optional(),
  tables: z
    .array(z.union([name, z.strictObject({ schema: name, table: name })]))
    .min(1)
    .max(10_000)
    .optional(),
  unconfirmed: z.boolean().optional(),
  budgetSeconds: z.number().min(1).max(86_400).optional(),
});

/** @throws UsageError naming every wrong argument */
export function parseReindexArguments(value: unknown): ReindexArguments {
  const parsed = schema.safeParse(value ?? {});
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => {
      const path = issue.path.join(".");
      return path === "" ? issue.message : `${path}: ${issue.message}`;
    });
    throw new UsageError(`the arguments of reindex are wrong: ${problems.join("; ")}`, {
      remedy: "it takes indexes, tables, unconfirmed and budgetSeconds",
    });
  }
  const { indexes, tables, unconfirmed, budgetSeconds } = parsed.data;
  return {
    ...(indexes === undefined ? {} : { indexes: indexes.map(indexName) }),
    ...(tables === undefined
      ? {}
      : { tables: tables.map((table) => (typeof table === "string" ? parseTableName(table) : table)) }),
    ...(unconfirmed === undefined ? {} : { unconfirmed }),
    ...(budgetSeconds === undefined ? {} : { budgetSeconds }),
  };
}

function indexName(given: string | IndexName): IndexName {
  if (typeof given !== "string") return given;
  const { schema: namespace, table } = parseTableName(given);
  return { schema: namespace, index: table };
}
