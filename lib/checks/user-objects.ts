import { literal } from "../postgres/identifiers.ts";

/** Schemas that belong to PostgreSQL or to pgkeep itself. */
const systemSchemas = ["information_schema", "pgkeep"];

/**
 * The one rule for what a review looks at: no schema of the system (pg_…, temporary ones too) or of pgkeep.
 * @param namespace alias of pg_namespace in the query
 */
export function userSchema(namespace = "n"): string {
  return `(${namespace}.nspname !~ '^pg_' and ${namespace}.nspname not in (${systemSchemas.map(literal).join(", ")}))`;
}

/**
 * And nothing that an extension made.
 * @param oid expression of the object's oid
 * @param catalog e.g. `pg_class`
 */
export function notOfExtension(oid: string, catalog: string): string {
  return `not exists (select from pg_depend ext where ext.classid = ${literal(catalog)}::regclass
    and ext.objid = ${oid} and ext.objsubid = 0 and ext.refclassid = 'pg_extension'::regclass and ext.deptype = 'e')`;
}

/** Both rules for a relation: aliases of pg_class and of its pg_namespace. */
export function userRelation(relation = "c", namespace = "n"): string {
  return `(${userSchema(namespace)} and ${notOfExtension(`${relation}.oid`, "pg_class")})`;
}
