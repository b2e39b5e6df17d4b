/** One row that the console answered, by column name. Versions have different columns. */
export type ConsoleRow = Readonly<Record<string, string | null>>;

/** What of the console is read; nothing here changes anything. */
export type ConsoleView =
  | "VERSION"
  | "STATE"
  | "CONFIG"
  | "DATABASES"
  | "USERS"
  | "POOLS"
  | "CLIENTS"
  | "SERVERS"
  | "LISTS"
  | "STATS";

/** PgBouncer's own database `pgbouncer`, which speaks the simple query protocol and knows no parameters. */
export interface PoolerConsole {
  /**
   * The rows of `SHOW <view>`; undefined when this PgBouncer has no such view.
   * @throws PgkeepError `unreachable`, `insufficient-privilege`
   */
  show(view: ConsoleView): Promise<ConsoleRow[] | undefined>;
  close(): Promise<void>;
}
