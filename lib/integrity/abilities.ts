import type { Session } from "../ports/databases.ts";
import { identifier } from "../postgres/identifiers.ts";
import type { Kind } from "./items.ts";

/** How a kind of item can be looked at here: through pgkeep's functions, amcheck's own, or not. */
export type Way =
  | { by: "pgkeep" }
  | { by: "amcheck"; schema: string; checksUnique: boolean }
  | { by: "nothing"; because: string };

export interface Abilities {
  ways: Record<Kind, Way>;
  /** GIN has a function of its own, which an older version of the extension lacks. */
  gin: Way;
}

interface Callable {
  schema: string;
  name: string;
  arguments: string;
  usable: boolean;
  executable: boolean;
  byOwner: boolean;
}

const functionOf: Record<Exclude<Kind, "table" | "index">, string> = {
  "foreign-key": "constraint_violations(oid, integer)",
  constraint: "constraint_violations(oid, integer)",
  reference: "reference_orphans(regclass, smallint, regclass, integer)",
  "enum-like": "values_outside_enum(regclass, smallint, regtype, integer)",
  sequence: "sequence_state(regclass)",
};

/**
 * What this role may call in this database. pgkeep's functions run with the rights of their owner, so the role needs
 * none on the tables; amcheck's own need no right on a table either, but EXECUTE, which only superusers have at first.
 */
export async function readAbilities(session: Session): Promise<Abilities> {
  const functions = await session.query<Callable>(
    `select n.nspname::text as schema, p.proname::text as name, oidvectortypes(p.proargtypes) as arguments,
            has_schema_privilege(n.oid, 'usage') as usable, has_function_privilege(p.oid, 'execute') as executable,
            coalesce((select has_function_privilege(r.oid, p.oid, 'execute') and has_schema_privilege(r.oid, n.oid, 'usage')
                        from pg_roles r where r.rolname = 'pgkeep'), false) as "byOwner"
       from pg_proc p join pg_namespace n on n.oid = p.pronamespace
       left join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
       left join pg_extension e on e.oid = d.refobjid
      where e.extname = 'amcheck' or e.oid is null and n.nspname = 'pgkeep'`,
  );
  const amcheck = (name: string) => functions.filter((one) => one.name === name && isAmcheck(one));
  const own = (signature: string) =>
    functions.find(
      (one) => one.schema === "pgkeep" && !isAmcheck(one) && `${one.name}(${one.arguments})` === signature,
    );
  const read = (name: string, signature: string): Way => {
    const checkers = amcheck(name);
    const [checker] = checkers;
    if (checker === undefined) {
      return { by: "nothing", because: whyNoAmcheck(name, functions.some(isAmcheck)) };
    }
    const mine = own(signature);
    if (mine?.usable && mine.executable && checkers.every((one) => one.byOwner)) {
      return { by: "pgkeep" };
    }
    if (checkers.every((one) => one.usable && one.executable)) {
      const checksUnique = checkers.some((one) => one.arguments === "regclass, boolean, boolean");
      return { by: "amcheck", schema: identifier(checker.schema), checksUnique };
    }
    return { by: "nothing", because: whyNot(session, mine, checker) };
  };
  const call = (signature: string): Way => {
    const mine = own(signature);
    if (mine?.usable === true && mine.executable) return { by: "pgkeep" };
    return { by: "nothing", because: whyNot(session, mine, undefined) };
  };
  return {
    ways: {
      table: read("verify_heapam", "check_heap_blocks(regclass, bigint, bigint)"),
      index: read("bt_index_check", "check_index(regclass)"),
      "foreign-key": call(functionOf["foreign-key"]),
      constraint: call(functionOf.constraint),
      reference: call(functionOf.reference),
      "enum-like": call(functionOf["enum-like"]),
      sequence: call(functionOf.sequence),
    },
    gin: read("gin_index_check", "check_index(regclass)"),
  };
}

const amcheckNames = new Set(["verify_heapam", "bt_index_check", "bt_index_parent_check", "gin_index_check"]);

function isAmcheck({ name }: Callable): boolean {
  return amcheckNames.has(name);
}

function whyNoAmcheck(name: string, hasSome: boolean): string {
  return hasSome
    ? `amcheck is older than the server and has no ${name}; as its owner: ALTER EXTENSION amcheck UPDATE;`
    : "the extension amcheck is not installed; `pgkeep install` does it, or as a superuser: CREATE EXTENSION amcheck;";
}

function whyNot(session: Session, mine: Callable | undefined, checker: Callable | undefined): string {
  const user = identifier(session.user);
  if (mine !== undefined && !(mine.usable && mine.executable)) {
    return `the role ${session.user} may not call pgkeep.${mine.name}; as pgkeep's owner: GRANT USAGE ON SCHEMA pgkeep TO ${user}; GRANT EXECUTE ON FUNCTION pgkeep.${mine.name}(${mine.arguments}) TO ${user};`;
  }
  if (checker !== undefined) {
    const schema = identifier(checker.schema);
    const grantee = mine === undefined ? user : "pgkeep";
    return `the role ${mine === undefined ? session.user : "pgkeep"} may not call ${checker.name} of amcheck; as a superuser: GRANT USAGE ON SCHEMA ${schema} TO ${grantee}; GRANT EXECUTE ON FUNCTION ${schema}.${checker.name}(${checker.arguments}) TO ${grantee};`;
  }
  return "the schema pgkeep is not installed, or older than this pgkeep; as the master user: `pgkeep install`";
}
