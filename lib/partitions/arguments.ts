import * as z from "zod";
import { UsageError } from "../errors.ts";
import { parseTableName, type TableName } from "../maintenance/table-name.ts";

/** What a person may ask of a run; a schedule asks nothing. */
export type PartitionArguments = {
  /** Only these of the declared tables. */
  tables?: TableName[];
  /** Also make the partitions that are missing in the past, between those that exist. */
  fillGaps?: boolean;
  /** Instead of `partitions.budgetSeconds`. */
  budgetSeconds?: number;
};

const schema = z.strictObject({
  tables: z.array(z.string().min(1)).min(1).max(1000).optional(),
  fillGaps: z.boolean().optional(),
  budgetSeconds: z.number().min(1).max(86_400).optional(),
});

/** @throws UsageError naming every wrong argument */
export function parsePartitionArguments(value: unknown): PartitionArguments {
  const parsed = schema.safeParse(value ?? {});
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => {
      const path = issue.path.join(".");
      return path === "" ? issue.message : `${path}: ${issue.message}`;
    });
    throw new UsageError(`the arguments of manage-partitions are wrong: ${problems.join("; ")}`, {
      remedy: "it takes tables, fillGaps and budgetSeconds",
    });
  }
  const { tables, fillGaps, budgetSeconds } = parsed.data;
  return {
    ...(tables === undefined ? {} : { tables: tables.map(parseTableName) }),
    ...(fillGaps === undefined ? {} : { fillGaps }),
    ...(budgetSeconds === undefined ? {} : { budgetSeconds }),
  };
}
