import { identifier, qualified } from "../../postgres/identifiers.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { notOfExtension, userSchema } from "../user-objects.ts";

interface Definer {
  schema: string;
  name: string;
  arguments: string;
  kind: string;
  owner: string;
  ownerIsSuperuser: boolean;
  forEverybody: boolean;
  searchPath: string | null;
  sqlBody: boolean;
}

/**
 * Functions that run with their owner's rights and look names up where their caller says (PostgreSQL, "Writing
 * SECURITY DEFINER Functions Safely"). A body of parsed SQL (BEGIN ATOMIC) has its names bound already.
 */
export const securityDefiner: ReviewCheck = {
  name: "security-definer",
  title: "Which functions with their owner's rights can be led astray by their caller?",
  area: "security",
  async run({ session }) {
    const rows = await session.query<Definer>(
      `select n.nspname::text as schema, p.proname::text as name, pg_get_function_identity_arguments(p.oid) as arguments,
              p.prokind::text as kind, o.rolname::text as owner, o.rolsuper as "ownerIsSuperuser",
              exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                       where a.grantee = 0 and a.privilege_type = 'EXECUTE') as "forEverybody",
              (select split_part(s, '=', 2) from unnest(p.proconfig) s where s like 'search_path=%' limit 1) as "searchPath",
              p.prosqlbody is not null as "sqlBody"
         from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_roles o on o.oid = p.proowner
         join pg_language l on l.oid = p.prolang
        where p.prosecdef and l.lanname not in ('c', 'internal') and ${userSchema()} and ${notOfExtension("p.oid", "pg_proc")}
        order by 1, 2, 3`,
    );
    const findings = rows.filter(({ sqlBody, searchPath }) => !sqlBody && !isSafe(searchPath)).map(finding);
    return concludeReview({
      findings,
      facts: { securityDefinerFunctions: rows.length },
      good:
        rows.length === 0
          ? []
          : ["Functions with their owner's rights fix their search_path, temporary objects last."],
    });
  },
};

/** Without pg_temp at its end, temporary tables are looked at first and stand in for real ones. */
function isSafe(searchPath: string | null): boolean {
  if (searchPath === null) return false;
  const schemas = searchPath.split(",").map((one) => one.trim().replaceAll('"', ""));
  if (schemas.length === 1 && schemas[0] === "") return true;
  return (
    !schemas.includes("$user") &&
    (schemas.at(-1) === "pg_temp" || schemas.every((one) => one === "pg_catalog"))
  );
}

function finding(one: Definer): ReviewFinding {
  const { schema, name, arguments: types, kind, owner, ownerIsSuperuser, forEverybody, searchPath } = one;
  const signature = `${qualified(schema, name)}(${types})`;
  const what = kind === "p" ? "PROCEDURE" : "FUNCTION";
  const path = `pg_catalog, ${schema === "pg_catalog" ? "" : `${identifier(schema)}, `}pg_temp`;
  const up = `ALTER ${what} ${signature} SET search_path = ${path};`;
  const down =
    searchPath === null
      ? `ALTER ${what} ${signature} RESET search_path;`
      : `ALTER ${what} ${signature} SET search_path = ${searchPath};`;
  const missing = searchPath === null;
  return {
    check: "security-definer",
    key: `security-definer/${schema}.${name}(${types})`,
    severity: !missing
      ? "low"
      : ownerIsSuperuser && forEverybody
        ? "critical"
        : ownerIsSuperuser || forEverybody
          ? "high"
          : "medium",
    confidence: missing ? "certain" : "likely",
    object: { schema, name: `${name}(${types})` },
    title: `${signature} runs as ${owner} and ${missing ? "looks names up where its caller says" : "meets temporary objects first"}`,
    evidence: { owner, ownerIsSuperuser, executableByEverybody: forEverybody, searchPath },
    impact: `Whoever may call it can plant a table, function or operator that it then uses with the rights of ${owner}`,
    blastRadius: ownerIsSuperuser ? "the whole server" : `everything that ${owner} may do`,
    rootCause: missing
      ? "SECURITY DEFINER without SET search_path"
      : "pg_temp is searched first unless it is named, and it is not named last",
    prevention:
      "write SET search_path = pg_catalog, …, pg_temp in each such function, and revoke EXECUTE from PUBLIC",
    effort: "minutes",
    example: {
      before: `CREATE ${what} … SECURITY DEFINER AS …`,
      after: `CREATE ${what} … SECURITY DEFINER SET search_path = ${path} AS …`,
    },
    remediation: {
      sql: `${up}${forEverybody ? `\nREVOKE EXECUTE ON ${what} ${signature} FROM PUBLIC; -- after granting it to those who call it` : ""}`,
      lock: "none on tables",
      rollback: down,
    },
    fix: {
      up: [up],
      down: [down],
      proof: [
        "pg_proc.proconfig names no safe search_path; names in other schemas have to be qualified in the body",
      ],
    },
  };
}
