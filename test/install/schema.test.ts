import { describe, expect, it } from "vitest";
import { desiredState } from "../../lib/install/desired.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { installed } from "./installed.ts";

/** Everything in schema pgkeep, as text that does not depend on the server's version. */
async function dumpSchema(session: Session): Promise<string> {
  const lines = async (sql: string) =>
    (await session.query<{ line: string }>(sql)).map(({ line }) => line).join("\n");
  const sections = [
    await lines(
      `select format('table %s.%s: %s %s%s%s', n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
              case when a.attnotnull then ' not null' else '' end,
              coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')) as line
       from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
       left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
       where n.nspname = 'pgkeep' and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
       order by c.relname, a.attnum`,
    ),
    await lines(
      `select format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(oid)) as line
       from pg_constraint where connamespace = 'pgkeep'::regnamespace and contype <> 'n' order by 1`,
    ),
    await lines("select indexdef as line from pg_indexes where schemaname = 'pgkeep' order by indexname"),
    await lines(
      `select format('comment on %s: %s', c.oid::regclass, d.description) as line
       from pg_description d join pg_class c on c.oid = d.objoid and d.classoid = 'pg_class'::regclass
       where c.relnamespace = 'pgkeep'::regnamespace and d.objsubid = 0 order by 1`,
    ),
    await lines(
      `select format('owner %s: %s', kind, owner) as line from (
         select 'schema' as kind, pg_get_userbyid(nspowner) as owner from pg_namespace where nspname = 'pgkeep'
         union select 'relations', pg_get_userbyid(relowner) from pg_class where relnamespace = 'pgkeep'::regnamespace
         union select 'functions', pg_get_userbyid(proowner) from pg_proc where pronamespace = 'pgkeep'::regnamespace) o
       order by 1`,
    ),
    await lines(
      `select format('%s: %s', what, string_agg(who, ', ' order by who collate "C")) as line from (
         select c.oid::regclass::text as what, format('%s %s', a.grantee::regrole, string_agg(a.privilege_type, '+' order by a.privilege_type)) as who
         from pg_class c, aclexplode(c.relacl) a
         where c.relnamespace = 'pgkeep'::regnamespace and a.grantee <> c.relowner group by 1, a.grantee
         union all
         select p.oid::regprocedure::text, format('%s %s', case a.grantee when 0 then 'PUBLIC' else a.grantee::regrole::text end, a.privilege_type)
         from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
         where p.pronamespace = 'pgkeep'::regnamespace and a.grantee <> p.proowner) g
       group by what order by what collate "C"`,
    ),
    await lines(
      `select pg_get_functiondef(p.oid) as line from pg_proc p where pronamespace = 'pgkeep'::regnamespace
       order by p.proname collate "C"`,
    ),
  ];
  return `${sections.join("\n\n")}\n`;
}

describe.each(allMajors)("schema pgkeep on PostgreSQL %i", (major) => {
  const server = useServer(major);

  it("is the one that is written down", async () => {
    const shop = await installed(server);
    const dump = await shop.as(undefined, dumpSchema);
    await expect(dump).toMatchFileSnapshot("./pgkeep-schema.txt");
  });

  it("has rights described for each of its tables and functions", async () => {
    const shop = await installed(server);
    const desired = desiredState(shop.config, { grantable: new Set(), withPassword: new Set() });
    const actual = await shop.as(undefined, (session) =>
      session.query<{ tables: string[]; functions: string[] }>(
        `select (select array_agg(relname::text order by relname) from pg_class
                 where relnamespace = 'pgkeep'::regnamespace and relkind = 'r') as tables,
                (select array_agg(proname || '(' || oidvectortypes(proargtypes) || ')' order by proname) from pg_proc
                 where pronamespace = 'pgkeep'::regnamespace) as functions`,
      ),
    );
    expect(actual[0]).toEqual({
      tables: Object.keys(desired.ownTables).sort(),
      functions: Object.keys(desired.ownFunctions).sort(),
    });
  });

  it("has functions that nobody can turn against their owner: a fixed search path, and nothing for PUBLIC", async () => {
    const shop = await installed(server);
    const loose = await shop.as(undefined, (session) =>
      session.query(
        `select p.proname from pg_proc p where pronamespace = 'pgkeep'::regnamespace
         and (not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false)
              or has_function_privilege('public', oid, 'execute'))`,
      ),
    );
    expect(loose).toEqual([]);
  });
});
