import { connect } from "../postgres/connect.ts";
import type { Login } from "./state.ts";

interface RelationRow {
  file: string;
  schema: string;
  name: string;
  kind: string;
  /** Table that an index or a TOAST table belongs to. */
  of_schema: string | null;
  of_name: string | null;
}

/**
 * Which relation each file of the cluster holds, over all databases: `base/16384/16391` → `public.orders`.
 * So a broken file of a backup can be named by its table when no server can be asked any more.
 */
export async function relationFiles(server: {
  port: number;
  superuser: Login;
}): Promise<Record<string, string>> {
  const target = (database: string) => ({
    host: "127.0.0.1",
    port: server.port,
    database,
    ...server.superuser,
  });
  const first = await connect(target("postgres"));
  let names: string[];
  try {
    const rows = await first.query<{ name: string }>(
      "select datname::text as name from pg_database where datallowconn and not datistemplate",
    );
    names = rows.map(({ name }) => name);
  } finally {
    await first.close();
  }
  const relations: Record<string, string> = {};
  for (const name of names) {
    const session = await connect(target(name));
    try {
      const rows = await session.query<RelationRow>(
        `select pg_relation_filepath(c.oid) as file, n.nspname::text as schema, c.relname::text as name,
                c.relkind::text as kind, tn.nspname::text as of_schema, t.relname::text as of_name
         from pg_class c
         join pg_namespace n on n.oid = c.relnamespace
         left join pg_index i on i.indexrelid = c.oid
         left join pg_class toasted on toasted.reltoastrelid = coalesce(i.indrelid, c.oid)
         left join pg_class t on t.oid = coalesce(toasted.oid, i.indrelid)
         left join pg_namespace tn on tn.oid = t.relnamespace
         where c.relkind in ('r', 'm', 't', 'i', 'S') and pg_relation_filepath(c.oid) is not null`,
      );
      for (const row of rows) relations[row.file] = describeRelation(row);
    } finally {
      await session.close();
    }
  }
  return relations;
}

function describeRelation(row: RelationRow): string {
  const table = `${row.of_schema}.${row.of_name}`;
  if (row.kind === "t") return `${table} (its TOAST table)`;
  if (row.kind === "i" && row.schema === "pg_toast") return `${table} (index of its TOAST table)`;
  if (row.kind === "i") return `${table} (index ${row.name})`;
  if (row.kind === "S") return `${row.schema}.${row.name} (sequence)`;
  return `${row.schema}.${row.name}`;
}

/** The relation of a file, whichever of its forks and gigabytes it is. */
export function describeFile(path: string, relations: Record<string, string>): string | undefined {
  return relations[path.replace(/(?:_(?:fsm|vm|init))?(?:\.\d+)?$/, "")];
}
