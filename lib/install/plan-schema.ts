import { identifier, qualified } from "../postgres/identifiers.ts";
import { majorOf } from "../postgres/versions.ts";
import type { ActualState } from "./actual.ts";
import type { Change } from "./change.ts";
import { type DesiredState, extensions } from "./desired.ts";
import { planRights, type Target } from "./rights.ts";
import { schemaOwner } from "./role-names.ts";
import type { SchemaFile } from "./schema-version.ts";

const own = "pgkeep";

/** Schema `pgkeep`: its files that were not applied yet. */
export function planOwnSchema(
  actual: ActualState,
  files: readonly SchemaFile[],
  installed: number | undefined,
): Change[] {
  const needs =
    actual.ownSchema === null && !actual.mayCreateInDatabase
      ? { needs: `a role with CREATE on database ${actual.databaseName}` }
      : {};
  const changes: Change[] = [];
  if (actual.ownSchema === null) {
    changes.push({
      kind: "create",
      sql: `CREATE SCHEMA ${own} AUTHORIZATION ${identifier(schemaOwner)}`,
      reason: `schema ${own} does not exist`,
      result: `schema ${own}: created`,
      required: true,
      ...needs,
    });
  }
  for (const { version, name, sql } of files.filter((file) => file.version > (installed ?? 0))) {
    changes.push({
      kind: "create",
      sql: `SET LOCAL ROLE ${identifier(schemaOwner)};\n${sql}\nINSERT INTO ${own}.schema_version (version) VALUES (${version});\nRESET ROLE`,
      reason: `schema ${own} lacks version ${version} (sql/install/${name})`,
      result: `schema ${own}: version ${version} applied`,
      required: true,
      ...needs,
    });
  }
  return changes;
}

/** Rights of pgkeep's own roles in schema `pgkeep`. */
export function planOwnRights(desired: DesiredState, actual: ActualState, isComplete: boolean): Change[] {
  const target = (type: string, reference: string): Target => ({
    type,
    reference,
    label: reference === own ? `schema ${own}` : reference,
    owner: actual.ownSchema?.owner ?? schemaOwner,
  });
  const missing: Change[] = [];
  const tables = Object.entries(desired.ownTables).flatMap(([name, wanted]) => {
    const found = actual.ownTables.find((table) => table.name === name);
    if (found === undefined && isComplete) {
      missing.push(lost(`table ${own}.${name}`));
      return [];
    }
    const reference = qualified(own, name);
    return [
      { target: { ...target("TABLE", reference), label: `${own}.${name}` }, wanted, acl: found?.acl ?? [] },
    ];
  });
  const functions = Object.entries(desired.ownFunctions).flatMap(([signature, wanted]) => {
    const found = actual.ownFunctions.find((candidate) => candidate.signature === signature);
    if (found === undefined && isComplete) {
      missing.push(lost(`function ${own}.${signature}`));
      return [];
    }
    return [{ target: target("FUNCTION", `${own}.${signature}`), wanted, acl: found?.acl ?? [] }];
  });
  return [
    ...missing,
    ...planRights(
      [
        { target: target("SCHEMA", own), wanted: desired.ownSchema, acl: actual.ownSchema?.acl ?? [] },
        ...tables,
        ...functions,
      ],
      { required: true },
    ),
  ];
}

/** What somebody dropped from the schema: only a new installation brings it back. */
function lost(what: string): Change {
  return {
    kind: "repair",
    sql: `DROP SCHEMA ${own} CASCADE`,
    reason: `${what} is missing`,
    result: `${what} is missing`,
    required: false,
    needs: "a person who decides to lose what schema pgkeep holds and runs `pgkeep install` again",
  };
}

/** Extensions, and the right of the schema's owner to call amcheck. */
export function planExtensions(actual: ActualState, version: number): Change[] {
  const changes: Change[] = [];
  for (const name of extensions) {
    const found = actual.extensions.find((extension) => extension.name === name);
    if (found?.installed === true) continue;
    const reason = `extension ${name} is not installed`;
    const change: Change = {
      kind: "create",
      sql: `CREATE EXTENSION IF NOT EXISTS ${identifier(name)} WITH SCHEMA ${own}`,
      reason,
      result: `extension ${name}: created`,
      required: false,
      attempt: true,
    };
    if (found === undefined) {
      changes.push({ ...change, needs: "an administrator who installs the server's contrib package" });
    } else if (found.creatable) {
      changes.push(change);
    } else {
      const grants = name === "amcheck" ? amcheckFunctions(majorOf(version)).map(grantToOwner) : [];
      changes.push({ ...change, sql: [change.sql, ...grants].join(";\n"), needs: "a superuser" });
    }
  }
  for (const { reference, grantable } of actual.uncheckedFunctions) {
    changes.push({
      kind: "grant",
      sql: grantToOwner(reference),
      reason: `${schemaOwner} lacks EXECUTE on ${reference}`,
      result: `${schemaOwner} lacked EXECUTE on ${reference}: granted`,
      required: false,
      ...(grantable ? {} : { needs: "a superuser" }),
    });
  }
  return changes;
}

const grantToOwner = (reference: string) =>
  `GRANT EXECUTE ON FUNCTION ${reference} TO ${identifier(schemaOwner)}`;

/** What `pgkeep.check_heap` and `pgkeep.check_index` call, in the extension's newest version there. */
function amcheckFunctions(major: number): string[] {
  return [
    "verify_heapam(regclass, boolean, boolean, text, bigint, bigint)",
    "bt_index_check(regclass, boolean)",
    ...(major >= 17 ? ["bt_index_check(regclass, boolean, boolean)"] : []),
    ...(major >= 18 ? ["gin_index_check(regclass)"] : []),
  ].map((signature) => `${own}.${signature}`);
}
