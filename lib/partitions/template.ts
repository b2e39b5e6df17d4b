import type { Session } from "../ports/databases.ts";
import { identifier, literal, qualified } from "../postgres/identifiers.ts";
import type { ParentFacts, Partition } from "./facts.ts";

/**
 * What a new partition has beyond what LIKE copies and ATTACH adds (columns, defaults, NOT NULL, CHECK, storage,
 * statistics, comments; the parent's indexes, foreign keys and row triggers): the same as the newest of its siblings,
 * or as the parent where there is none yet.
 */
export interface Template {
  schema: string;
  /** Follows CREATE TABLE … (LIKE …). */
  clauses: string;
  unlogged: boolean;
  /** Statements for a table of that quoted name, before it is attached. */
  before(name: string): { sql: string; why: string }[];
  /** Once it is attached and has the parent's indexes. Some ask the server for a name first. */
  after: { sql(name: string): string; question?: string; values?: readonly unknown[]; why: string }[];
  /** What cannot be carried over, in sentences. */
  notes: string[];
}

interface Row {
  schema: string;
  table: string;
  /** As the server writes it in definitions. */
  reference: string;
  unlogged: boolean;
  method: string | null;
  tablespace: string | null;
  options: string[] | null;
  toastOptions: string[] | null;
  rowSecurity: boolean;
  forcedRowSecurity: boolean;
  replicaIdentity: string;
  acl: { grantee: string | null; privileges: string; grantable: boolean }[];
  columnAcl: { column: string; grantee: string | null; privileges: string; grantable: boolean }[];
  policies: PolicyRow[];
  triggers: { name: string; definition: string; enabled: string }[];
  indexes: { name: string; quoted: string; definition: string; unique: boolean }[];
  constraints: { name: string; definition: string }[];
  publications: { name: string; plain: boolean; mine: boolean }[];
  identityParent: number | null;
}

interface PolicyRow {
  name: string;
  permissive: boolean;
  command: string;
  roles: (string | null)[];
  using: string | null;
  check: string | null;
}

const commands: Readonly<Record<string, string>> = {
  "*": "ALL",
  r: "SELECT",
  a: "INSERT",
  w: "UPDATE",
  d: "DELETE",
};
const enabling: Readonly<Record<string, string>> = {
  D: "DISABLE",
  R: "ENABLE REPLICA",
  A: "ENABLE ALWAYS",
};

export async function readTemplate(
  session: Session,
  facts: ParentFacts,
  sibling: Partition | undefined,
): Promise<Template> {
  const rows = await session.query<Row>(templateQuery(session.serverVersionNumber), [
    sibling?.oid ?? facts.oid,
    facts.oid,
    facts.actAs ?? facts.owner,
  ]);
  const row = rows[0];
  if (row === undefined) return readTemplate(session, facts, undefined);
  const notes: string[] = [];
  return {
    schema: row.schema,
    unlogged: row.unlogged,
    clauses:
      (row.method === null ? "" : ` USING ${identifier(row.method)}`) +
      (row.tablespace === null ? "" : ` TABLESPACE ${identifier(row.tablespace)}`),
    before: beforeAttaching(row, sibling, notes),
    after: afterAttaching(row, notes),
    notes,
  };
}

function beforeAttaching(row: Row, sibling: Partition | undefined, notes: string[]) {
  const from = qualified(row.schema, row.table);
  const settings = [
    ...(row.options ?? []),
    ...(row.toastOptions ?? []).map((option) => `toast.${option}`),
  ].map((option) => {
    const [, name = "", value = ""] = /^([^=]+)=(.*)$/s.exec(option) ?? [];
    return `${name} = ${literal(value)}`;
  });
  const indexes = row.indexes.flatMap(({ name, quoted, definition, unique }) => {
    const start = `CREATE ${unique ? "UNIQUE " : ""}INDEX ${quoted} ON ${row.reference} `;
    if (definition.startsWith(start)) return [{ unique, rest: definition.slice(start.length) }];
    notes.push(`index ${identifier(name)} of ${from} is not carried over to new partitions`);
    return [];
  });
  const triggers = row.triggers.flatMap(({ name, definition, enabled }) => {
    const parts = definition.split(` ON ${row.reference} `);
    if (parts.length === 2) return [{ name, enabled, parts }];
    notes.push(`trigger ${identifier(name)} of ${from} is not carried over to new partitions`);
    return [];
  });
  return (name: string) => {
    const same = sibling === undefined ? "as the parent" : `as ${sibling.name}`;
    const list: { sql: string; why: string }[] = [];
    const push = (sql: string, what: string) => list.push({ sql, why: `${what} ${same}` });
    if (settings.length > 0) push(`ALTER TABLE ${name} SET (${settings.join(", ")})`, "storage settings");
    for (const { unique, rest } of indexes)
      push(`CREATE ${unique ? "UNIQUE " : ""}INDEX ON ${name} ${rest}`, "an index of its own");
    for (const { name: constraint, definition } of row.constraints) {
      push(
        `ALTER TABLE ${name} ADD CONSTRAINT ${identifier(constraint)} ${definition}`,
        "a constraint of its own",
      );
    }
    for (const { name: trigger, enabled, parts } of triggers) {
      push(`${parts[0]} ON ${name} ${parts[1]}`, "a trigger of its own");
      const state = enabling[enabled];
      if (state !== undefined)
        push(`ALTER TABLE ${name} ${state} TRIGGER ${identifier(trigger)}`, "a trigger's state");
    }
    if (row.rowSecurity) push(`ALTER TABLE ${name} ENABLE ROW LEVEL SECURITY`, "row level security");
    if (row.forcedRowSecurity) push(`ALTER TABLE ${name} FORCE ROW LEVEL SECURITY`, "row level security");
    for (const policy of row.policies) push(policySql(policy, name), "a policy");
    for (const { grantee, privileges, grantable } of row.acl)
      push(grant(privileges, name, grantee, grantable), "privileges");
    for (const { column, grantee, privileges, grantable } of row.columnAcl) {
      const columns = privileges
        .split(", ")
        .map((privilege) => `${privilege} (${identifier(column)})`)
        .join(", ");
      push(grant(columns, name, grantee, grantable), "privileges");
    }
    return list;
  };
}

function afterAttaching(row: Row, notes: string[]): Template["after"] {
  const after: Template["after"] = [];
  const why = "as its siblings";
  if (row.replicaIdentity === "f" || row.replicaIdentity === "n") {
    const kind = row.replicaIdentity === "f" ? "FULL" : "NOTHING";
    after.push({
      sql: (name) => `ALTER TABLE ${name} REPLICA IDENTITY ${kind}`,
      why: `replica identity ${why}`,
    });
  } else if (row.replicaIdentity === "i") {
    if (row.identityParent === null) {
      notes.push(
        `the replica identity of ${qualified(row.schema, row.table)} is an index of its own and is not carried over to new partitions`,
      );
    } else {
      after.push({
        sql: (index) => index,
        question: `select format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', $1::text, i.relname) as sql
                     from pg_inherits h join pg_class i on i.oid = h.inhrelid
                     join pg_index x on x.indexrelid = i.oid
                    where h.inhparent = $2 and x.indrelid = to_regclass($1::text)`,
        values: [row.identityParent],
        why: `replica identity ${why}`,
      });
    }
  }
  for (const { name: publication, plain, mine } of row.publications) {
    if (plain && mine) {
      after.push({
        sql: (name) => `ALTER PUBLICATION ${identifier(publication)} ADD TABLE ${name}`,
        why: `published ${why}`,
      });
    } else {
      notes.push(
        `publication ${identifier(publication)} names ${qualified(row.schema, row.table)} ${plain ? "and belongs to someone else" : "with a filter or a list of columns"}: new partitions are not added to it`,
      );
    }
  }
  return after;
}

function grant(privileges: string, name: string, grantee: string | null, grantable: boolean): string {
  const to = grantee === null ? "PUBLIC" : identifier(grantee);
  return `GRANT ${privileges} ON TABLE ${name} TO ${to}${grantable ? " WITH GRANT OPTION" : ""}`;
}

function policySql(
  { name: policy, permissive, command, roles, using, check }: PolicyRow,
  table: string,
): string {
  const to = roles.map((role) => (role === null ? "PUBLIC" : identifier(role))).join(", ");
  return (
    `CREATE POLICY ${identifier(policy)} ON ${table} AS ${permissive ? "PERMISSIVE" : "RESTRICTIVE"} FOR ${commands[command]} TO ${to}` +
    (using === null ? "" : ` USING (${using})`) +
    (check === null ? "" : ` WITH CHECK (${check})`)
  );
}

const templateQuery = (version: number) => `
select n.nspname::text as schema, c.relname::text as table, format('%I.%I', n.nspname, c.relname) as reference,
       c.relpersistence = 'u' as unlogged,
       (select amname::text from pg_am where oid = c.relam) as method,
       (select spcname::text from pg_tablespace where oid = coalesce(nullif(parent.reltablespace, 0), c.reltablespace)) as tablespace,
       case when c.relkind = 'r' then c.reloptions end as options,
       (select t.reloptions from pg_class t where t.oid = c.reltoastrelid) as "toastOptions",
       c.relrowsecurity as "rowSecurity", c.relforcerowsecurity as "forcedRowSecurity",
       c.relreplident::text as "replicaIdentity",
       (select h.inhparent::int8 from pg_index x join pg_inherits h on h.inhrelid = x.indexrelid
         where x.indrelid = c.oid and x.indisreplident) as "identityParent",
       coalesce((select json_agg(g) from (
          select pg_get_userbyid(nullif(a.grantee, 0))::text as grantee, string_agg(a.privilege_type, ', ' order by a.privilege_type) as privileges,
                 a.is_grantable as grantable
            from aclexplode(c.relacl) a where a.grantee <> c.relowner group by a.grantee, a.is_grantable order by a.grantee) g), '[]') as acl,
       coalesce((select json_agg(g) from (
          select t.attname::text as column, pg_get_userbyid(nullif(a.grantee, 0))::text as grantee,
                 string_agg(a.privilege_type, ', ' order by a.privilege_type) as privileges, a.is_grantable as grantable
            from pg_attribute t cross join lateral aclexplode(t.attacl) a
           where t.attrelid = c.oid and t.attnum > 0 and not t.attisdropped
           group by t.attname, a.grantee, a.is_grantable order by 1, a.grantee) g), '[]') as "columnAcl",
       coalesce((select json_agg(g) from (
          select p.polname::text as name, p.polpermissive as permissive, p.polcmd::text as command,
                 array(select pg_get_userbyid(nullif(r, 0))::text from unnest(p.polroles) r) as roles,
                 pg_get_expr(p.polqual, p.polrelid) as using, pg_get_expr(p.polwithcheck, p.polrelid) as check
            from pg_policy p where p.polrelid = c.oid order by p.polname) g), '[]') as policies,
       coalesce((select json_agg(g) from (
          select t.tgname::text as name, pg_get_triggerdef(t.oid) as definition, t.tgenabled::text as enabled
            from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal and t.tgparentid = 0 and c.relkind = 'r'
           order by t.tgname) g), '[]') as triggers,
       coalesce((select json_agg(g) from (
          select i.relname::text as name, quote_ident(i.relname) as quoted, pg_get_indexdef(i.oid) as definition, x.indisunique as unique
            from pg_index x join pg_class i on i.oid = x.indexrelid
           where x.indrelid = c.oid and c.relkind = 'r' and x.indisvalid and not i.relispartition
             and not exists (select from pg_constraint k where k.conindid = i.oid and k.contype in ('p', 'u', 'x'))
           order by i.relname) g), '[]') as indexes,
       coalesce((select json_agg(g) from (
          select k.conname::text as name, pg_get_constraintdef(k.oid) as definition
            from pg_constraint k
           where k.conrelid = c.oid and c.relkind = 'r' and k.conparentid = 0 and k.contype in ('p', 'u', 'x', 'f')
           order by k.contype = 'f', k.conname) g), '[]') as constraints,
       coalesce((select json_agg(g) from (
          select p.pubname::text as name, pg_has_role($3, p.pubowner, 'USAGE') as mine,
                 ${version >= 150000 ? "r.prqual is null and r.prattrs is null" : "true"} as plain
            from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
           where r.prrelid = c.oid and c.relkind = 'r' order by p.pubname) g), '[]') as publications
  from pg_class c join pg_namespace n on n.oid = c.relnamespace cross join pg_class parent
 where c.oid = $1 and parent.oid = $2`;
