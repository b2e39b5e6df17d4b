import type { Finding } from "../checks/check.ts";
import type { Session } from "../ports/databases.ts";

/** What is known about one item from this run and those before. */
export interface Look {
  item: string;
  objectName: string;
  /** ISO 8601, by the primary's clock. */
  attemptedAt: string;
  /** When the last look at all of it began; null before the first. */
  checkedAt: string | null;
  /** When the look began that is not finished yet. */
  passBeganAt: string | null;
  /** Where to go on. */
  nextBlock: number | null;
  /** It takes longer than this: it was cut off. */
  tooLongSeconds: number | null;
  corrupt: boolean;
  /** What the last look found. */
  problems: Finding[] | null;
}

const columns = `item, object_name as "objectName", ${isoText("attempted_at")} as "attemptedAt",
  ${isoText("checked_at")} as "checkedAt", ${isoText("pass_began_at")} as "passBeganAt", next_block as "nextBlock",
  too_long_seconds as "tooLongSeconds", corrupt, problems`;

function isoText(column: string): string {
  return `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
}

/** Rows are written together, at least this often. */
const writeEveryMilliseconds = 1_000;

/**
 * The memory of check-integrity, in `pgkeep.integrity_look`. Without the schema it lasts as long as the run: then each
 * run begins anew.
 */
export class Looks {
  /** Why nothing is kept; null when it is. */
  readonly obstacle: string | null;
  private readonly session: Session;
  private readonly known = new Map<string, Look>();
  private readonly unwritten = new Set<string>();
  private writtenAt = performance.now();

  private constructor(session: Session, obstacle: string | null) {
    this.session = session;
    this.obstacle = obstacle;
  }

  /** Reads what is kept, on the primary. */
  static async open(session: Session, options: { writes: boolean }): Promise<Looks> {
    const [row] = await session.query<{ installed: boolean; usable: boolean }>(
      `select c.oid is not null as installed,
              coalesce(has_schema_privilege(n.oid, 'usage')
                and has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
                and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete'), false) as usable
         from (select 1) as one
         left join pg_namespace n on n.nspname = 'pgkeep'
         left join pg_class c on c.relnamespace = n.oid and c.relname = 'integrity_look' and c.relkind = 'r'`,
    );
    const looks = new Looks(
      session,
      row?.installed !== true
        ? "the schema pgkeep is not installed, or older than this pgkeep (`pgkeep install`)"
        : !row.usable
          ? `the role ${session.user} may not write to pgkeep.integrity_look (\`pgkeep install\` repairs its rights)`
          : session.isStandby && options.writes
            ? "a standby keeps nothing"
            : null,
    );
    if (looks.obstacle === null) {
      for (const look of await session.query<Look>(`select ${columns} from pgkeep.integrity_look`)) {
        looks.known.set(look.item, look);
      }
    }
    return looks;
  }

  get(item: string): Look | undefined {
    return this.known.get(item);
  }

  all(): Look[] {
    return [...this.known.values()];
  }

  /** Notes it; it is written with others in a while. */
  async put(look: Look): Promise<void> {
    this.known.set(look.item, look);
    this.unwritten.add(look.item);
    if (performance.now() - this.writtenAt >= writeEveryMilliseconds) await this.write();
  }

  /** Writes what is not written yet. */
  async write(): Promise<void> {
    this.writtenAt = performance.now();
    if (this.obstacle !== null || this.unwritten.size === 0) return;
    const rows = [...this.unwritten].map((item) => this.known.get(item) as Look);
    await this.session.query(
      `insert into pgkeep.integrity_look
       select * from jsonb_to_recordset($1::jsonb) as r (item text, "objectName" text, "attemptedAt" timestamptz,
         "checkedAt" timestamptz, "passBeganAt" timestamptz, "nextBlock" bigint, "tooLongSeconds" float8,
         corrupt boolean, problems jsonb)
       on conflict (item) do update set object_name = excluded.object_name, attempted_at = excluded.attempted_at,
         checked_at = excluded.checked_at, pass_began_at = excluded.pass_began_at, next_block = excluded.next_block,
         too_long_seconds = excluded.too_long_seconds, corrupt = excluded.corrupt, problems = excluded.problems`,
      [JSON.stringify(rows)],
    );
    this.unwritten.clear();
  }

  /** Forgets everything but these. */
  async keepOnly(items: ReadonlySet<string>): Promise<void> {
    const gone = [...this.known.keys()].filter((item) => !items.has(item));
    for (const item of gone) this.known.delete(item);
    if (this.obstacle !== null || gone.length === 0) return;
    await this.session.query("delete from pgkeep.integrity_look where item = any ($1::text[])", [gone]);
  }
}
