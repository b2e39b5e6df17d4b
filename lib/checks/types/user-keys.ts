import { type KeyColumn, readKeyColumns } from "../../history/keys.ts";
import { readTables } from "../indexes/tables.ts";
import type { ReviewContext } from "../review-check.ts";

/** Columns of the user's tables that sequences fill; a partitioned table stands for its partitions. */
export function readUserKeys(context: ReviewContext): Promise<KeyColumn[]> {
  return context.once("user-keys", async () => {
    const { byOid } = await readTables(context);
    return (await readKeyColumns(context.session)).filter(
      ({ tableOid }) => byOid.get(tableOid)?.parent === null,
    );
  });
}
