import { identifier, qualified } from "../postgres/identifiers.ts";
import type { ActualState } from "./actual.ts";
import type { Change } from "./change.ts";
import { type DesiredState, everybody, type Rights } from "./desired.ts";
import { shown } from "./names.ts";
import { isHandedOver, planObjectOwners, planSchemaOwners } from "./plan-ownership.ts";
import { planRights } from "./rights.ts";

/** Owners and access lists of the database and of everything of the application in it. */
export function planAccess(desired: DesiredState, actual: ActualState): Change[] {
  return [
    ...planDatabase(desired, actual),
    ...planSchemaOwners(desired, actual),
    ...planSchemas(desired, actual),
    ...planObjectOwners(desired, actual),
    ...planObjects(desired, actual),
    ...planColumns(actual),
    ...planDefaults(desired, actual),
  ];
}

function planDatabase(desired: DesiredState, actual: ActualState): Change[] {
  const target = {
    type: "DATABASE",
    reference: identifier(actual.databaseName),
    label: `database ${shown(actual.databaseName)}`,
    owner: actual.databaseOwner,
  };
  return planRights([{ target, wanted: desired.database, acl: actual.database }], {
    required: true,
    ...(actual.ownsDatabase ? {} : { needs: `the owner of the database (${actual.databaseOwner})` }),
  });
}

function planSchemas(desired: DesiredState, actual: ActualState): Change[] {
  const holdsExtension = new Set(actual.extensions.map(({ schema }) => schema));
  return planRights(
    actual.schemas
      .filter(({ ownerUsable, owner }) => ownerUsable || isHandedOver(owner, desired, actual))
      .map(({ name, owner, acl }) => ({
        target: {
          type: "SCHEMA",
          reference: identifier(name),
          label: `schema ${shown(name)}`,
          owner: name !== "public" && isHandedOver(owner, desired, actual) ? desired.names.owner : owner,
        },
        wanted: holdsExtension.has(name)
          ? { ...desired.schemas, ...desired.extensionSchemas }
          : desired.schemas,
        acl: acl.map((entry) => afterHandOver(entry, owner, desired, actual, name !== "public")),
      })),
  );
}

/** Rights that the old owner granted become the new owner's grants. */
function afterHandOver<Entry extends { grantor: string; grantorUsable: boolean }>(
  entry: Entry,
  owner: string,
  desired: DesiredState,
  actual: ActualState,
  moves = true,
): Entry {
  if (!moves || entry.grantor !== owner || !isHandedOver(owner, desired, actual)) return entry;
  return { ...entry, grantor: desired.names.owner, grantorUsable: true };
}

function planObjects(desired: DesiredState, actual: ActualState): Change[] {
  return planRights(
    actual.objects
      .filter(({ ownerUsable, owner }) => ownerUsable || isHandedOver(owner, desired, actual))
      .flatMap(({ schema, kind, owner, names, acl }) =>
        names.map((name) => ({
          target: {
            type: kind === "sequence" ? "SEQUENCE" : "TABLE",
            reference: qualified(schema, name),
            label: shown(schema, name),
            owner: isHandedOver(owner, desired, actual) ? desired.names.owner : owner,
          },
          wanted: kind === "sequence" ? desired.sequences : desired.tables,
          acl: acl.map((entry) => afterHandOver(entry, owner, desired, actual)),
        })),
      ),
  );
}

/** Rights on single columns reach around those on the table; no managed role has any. */
function planColumns(actual: ActualState): Change[] {
  return actual.columns.flatMap(({ table, column, acl, ownerUsable, owner }) =>
    acl.map(({ grantee, privilege, grantor, grantorUsable }) => {
      const who = grantee === everybody ? "PUBLIC" : grantee;
      const revoke = `REVOKE ${privilege} (${identifier(column)}) ON TABLE ${table} FROM ${
        grantee === everybody ? "PUBLIC" : identifier(grantee)
      } CASCADE`;
      const usable = grantor === owner ? ownerUsable : grantorUsable;
      return {
        kind: "revoke" as const,
        sql: grantor === owner ? revoke : `SET LOCAL ROLE ${identifier(grantor)};\n${revoke};\nRESET ROLE`,
        reason: `${who} has ${privilege} on column ${shown(column)} of ${table}`,
        result: `${who} had ${privilege} on column ${shown(column)} of ${table}: revoked`,
        required: false,
        ...(usable ? {} : { needs: `${grantor}, who granted it, or a superuser` }),
      };
    }),
  );
}

const defaultTypes = [
  ["r", "TABLES"],
  ["S", "SEQUENCES"],
  ["n", "SCHEMAS"],
] as const;

/** What managed roles may do with objects that the owner group, or the installing user, will create. */
function planDefaults(desired: DesiredState, actual: ActualState): Change[] {
  const wanted: Record<"r" | "S" | "n", Rights> = {
    r: desired.tables,
    S: desired.sequences,
    n: desired.schemas,
  };
  return [desired.names.owner, actual.user].flatMap((role) =>
    defaultTypes.flatMap(([type, plural]) => {
      const rows = actual.defaults.filter((row) => row.role === role && row.type === type);
      const everywhere = rows.find((row) => row.schema === null);
      return [everywhere ?? { schema: null, acl: [] }, ...rows.filter((row) => row.schema !== null)].flatMap(
        ({ schema, acl }) =>
          planRights([
            {
              target: {
                type: plural,
                reference: "",
                label: `future ${plural.toLowerCase()} of ${role}${schema === null ? "" : ` in ${shown(schema)}`}`,
                owner: role,
              },
              wanted: schema === null ? wanted[type] : {},
              // In one schema, what holds everywhere is granted twice at worst.
              acl:
                schema === null
                  ? acl
                  : acl.filter(
                      ({ grantee, privilege }) => wanted[type][grantee]?.includes(privilege) !== true,
                    ),
            },
          ]).map((change) => ({
            ...change,
            sql: `ALTER DEFAULT PRIVILEGES FOR ROLE ${identifier(role)}${
              schema === null ? "" : ` IN SCHEMA ${identifier(schema)}`
            } ${change.sql}`,
          })),
      );
    }),
  );
}
