import { identifier, qualified } from "../../postgres/identifiers.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { notOfExtension, userRelation, userSchema } from "../user-objects.ts";

const common = {
  rootCause: "PUBLIC was the shortest way to make something work, or is the default of an old version",
  prevention: "grant to group roles, and let default privileges do it for new objects",
} as const;

function finding(
  check: string,
  said: Pick<ReviewFinding, "severity" | "object" | "title" | "evidence" | "impact" | "blastRadius"> & {
    name: string;
    up: string;
    down: string;
    lock?: string;
  },
): ReviewFinding {
  const { name, up, down, lock, ...rest } = said;
  return {
    check,
    key: `${check}/${name}`,
    confidence: "certain",
    ...rest,
    ...common,
    effort: "minutes",
    remediation: { sql: up, lock: lock ?? "none on rows", rollback: down },
    fix: { up: [up], down: [down], proof: ["the catalog's list of rights names PUBLIC"] },
  };
}

/** Schemas in which everybody may make objects: those stand in for functions and operators of others (CVE-2018-1058). */
export const publicCreate: ReviewCheck = {
  name: "public-create",
  title: "In which schemas may everybody create objects?",
  area: "security",
  async run({ session }) {
    const rows = await session.query<{ schema: string }>(
      `select n.nspname::text as schema from pg_namespace n
        cross join lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
        where a.grantee = 0 and a.privilege_type = 'CREATE' and ${userSchema()} and ${notOfExtension("n.oid", "pg_namespace")}
        order by 1`,
    );
    return concludeReview({
      facts: { schemas: rows.length },
      good: ["No schema lets everybody create objects."],
      findings: rows.map(({ schema }) =>
        finding("public-create", {
          name: schema,
          severity: "medium",
          object: { schema },
          title: `everybody may create objects in schema ${identifier(schema)}`,
          evidence: { privilege: "CREATE", grantee: "PUBLIC" },
          impact:
            "Any login can plant a function or an operator there that another one's statements then run, with that one's rights",
          blastRadius: `every login that has ${identifier(schema)} in its search_path`,
          up: `REVOKE CREATE ON SCHEMA ${identifier(schema)} FROM PUBLIC;`,
          down: `GRANT CREATE ON SCHEMA ${identifier(schema)} TO PUBLIC;`,
        }),
      ),
    });
  },
};

const relationKinds: Record<string, string> = { S: "SEQUENCE" };

/** Tables, views and sequences that everybody may read or write. */
export const publicGrants: ReviewCheck = {
  name: "public-grants",
  title: "Which tables may everybody read or write?",
  area: "security",
  async run({ session }) {
    const rows = await session.query<{
      schema: string;
      name: string;
      kind: string;
      privileges: string[];
      reachable: boolean;
    }>(
      `select n.nspname::text as schema, c.relname::text as name, c.relkind::text as kind,
              array_agg(distinct a.privilege_type order by a.privilege_type) as privileges,
              exists (select from aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) s
                       where s.grantee = 0 and s.privilege_type = 'USAGE') as reachable
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         cross join lateral aclexplode(c.relacl) a
        where c.relacl is not null and a.grantee = 0 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and ${userRelation()}
        group by n.oid, n.nspname, c.oid, c.relname, c.relkind order by 1, 2`,
    );
    return concludeReview({
      facts: { relations: rows.length },
      good: ["No table, view or sequence is open to everybody."],
      findings: rows.map(({ schema, name, kind, privileges, reachable }) => {
        const writes = privileges.some((one) => one !== "SELECT" && one !== "REFERENCES");
        const what = `${relationKinds[kind] ?? "TABLE"} ${qualified(schema, name)}`;
        return finding("public-grants", {
          name: `${schema}.${name}`,
          severity: !reachable ? "low" : writes && kind !== "S" ? "high" : "medium",
          object: { schema, table: name },
          title: `everybody has ${privileges.join(", ")} on ${qualified(schema, name)}`,
          evidence: { privileges, schemaOpenToEverybody: reachable },
          impact: `${reachable ? "Every login of this database" : "Every login that gets into the schema"} ${writes ? "can change" : "can read"} it, those of other applications too`,
          blastRadius: `the contents of ${qualified(schema, name)}`,
          up: `REVOKE ${privileges.join(", ")} ON ${what} FROM PUBLIC;`,
          down: `GRANT ${privileges.join(", ")} ON ${what} TO PUBLIC;`,
        });
      }),
    });
  },
};

const defaultKinds: Record<string, string> = { r: "TABLES", S: "SEQUENCES", n: "SCHEMAS" };

/** Default privileges that open each new object to everybody. Those of functions and types are PostgreSQL's own default. */
export const publicDefaults: ReviewCheck = {
  name: "public-defaults",
  title: "Which new objects will be open to everybody?",
  area: "security",
  async run({ session }) {
    const rows = await session.query<{
      role: string;
      schema: string | null;
      kind: string;
      privileges: string[];
    }>(
      `select pg_get_userbyid(d.defaclrole)::text as role, n.nspname::text as schema, d.defaclobjtype::text as kind,
              array_agg(a.privilege_type order by a.privilege_type) as privileges
         from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace
         cross join lateral aclexplode(d.defaclacl) a
        where a.grantee = 0 and d.defaclobjtype in ('r', 'S', 'n') and (n.oid is null or ${userSchema()})
        group by d.oid, d.defaclrole, n.nspname, d.defaclobjtype order by 1, 2, 3`,
    );
    return concludeReview({
      facts: { entries: rows.length },
      good: ["New objects are not open to everybody by default."],
      findings: rows.map(({ role, schema, kind, privileges }) => {
        const target = `FOR ROLE ${identifier(role)}${schema === null ? "" : ` IN SCHEMA ${identifier(schema)}`}`;
        const things = defaultKinds[kind] ?? kind;
        return finding("public-defaults", {
          name: `${role}/${schema ?? "any schema"}/${things.toLowerCase()}`,
          severity: "medium",
          object: { role, ...(schema === null ? {} : { schema }) },
          title: `new ${things.toLowerCase()} of ${role} give ${privileges.join(", ")} to everybody`,
          evidence: { privileges },
          impact: "Each object that is made from now on is open to every login, and nobody is told",
          blastRadius: `all that ${role} will create`,
          up: `ALTER DEFAULT PRIVILEGES ${target} REVOKE ${privileges.join(", ")} ON ${things} FROM PUBLIC;`,
          down: `ALTER DEFAULT PRIVILEGES ${target} GRANT ${privileges.join(", ")} ON ${things} TO PUBLIC;`,
        });
      }),
    });
  },
};
