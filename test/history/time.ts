import type { Session } from "../../lib/ports/databases.ts";

/** As if so many days had passed since everything in the history was noted. */
export async function daysPass(session: Session, days = 1): Promise<void> {
  await session.query("begin");
  // One after the other, from the oldest on: days are unique.
  for (const { day } of await session.query<{ day: string }>(
    "select day::text as day from pgkeep.history_day order by day",
  )) {
    await session.query(
      "update pgkeep.history_day set day = day - $2::int, taken_at = taken_at - make_interval(days => $2::int) where day = $1::date",
      [day, days],
    );
  }
  for (const [table, column] of [
    ["history_table_before", "until_day"],
    ["history_statement", "day"],
  ]) {
    // Through the far past, so that no key is taken twice on the way.
    await session.query(`update pgkeep.${table} set ${column} = ${column} - 100000`);
    await session.query(`update pgkeep.${table} set ${column} = ${column} + 100000 - ${days}`);
  }
  await session.query("update pgkeep.history_table set first_day = first_day - 100000");
  await session.query(
    `update pgkeep.history_table set first_day = first_day + 100000 - ${days}, since_day = since_day - ${days}, gone_day = gone_day - ${days}`,
  );
  await session.query("commit");
}
