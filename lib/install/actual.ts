import type { Session } from "../ports/databases.ts";
import { stateQuery } from "./actual-query.ts";

/** One privilege that a managed role, or PUBLIC (`""`), has on something it does not own. */
export interface AclEntry {
  grantee: string;
  privilege: string;
  grantable: boolean;
  grantor: string;
  /** True when the installing user has the grantor's rights. */
  grantorUsable: boolean;
}

export interface ActualRole {
  name: string;
  login: boolean;
  superuser: boolean;
  createrole: boolean;
  createdb: boolean;
  replication: boolean;
  bypassrls: boolean;
  inherit: boolean;
  connectionLimit: number;
  comment: string | null;
  /** True when the installing user may change it and grant it. */
  administrable: boolean;
  /** True when the installing user has its rights and may create objects for it. */
  usable: boolean;
  /** True when every member of rds_superuser may change it. */
  shared: boolean;
}

export interface ActualMembership {
  role: string;
  member: string;
  /** Comment of `role`. */
  comment: string | null;
  admin: boolean;
  inherits: boolean;
  grantor: string | null;
  revocable: boolean;
}

/** Objects of one kind, owner and access list. */
export interface ObjectGroup {
  schema: string;
  kind: "relation" | "sequence";
  owner: string;
  ownerUsable: boolean;
  names: string[];
  acl: AclEntry[];
}

export interface OwnedObject {
  /** Follows ALTER: `TABLE`, `ROUTINE`, `TYPE`. */
  keyword: "TABLE" | "ROUTINE" | "TYPE";
  /** Quoted and qualified. */
  reference: string;
  owner: string;
  ownerUsable: boolean;
}

export interface ActualState {
  user: string;
  databaseName: string;
  superuser: boolean;
  createrole: boolean;
  /** True where administrators share their rights through rds_superuser, and the user is one. */
  sharesAdministration: boolean;
  /** True when a statement of `user` counts as one of the database's owner. */
  ownsDatabase: boolean;
  databaseOwner: string;
  mayCreateInDatabase: boolean;
  /** Logins that may connect because PUBLIC may, and for no other reason. */
  publicLogins: string[];
  /** Predefined roles that exist and that the user may grant. */
  grantable: string[];
  roles: ActualRole[];
  memberships: ActualMembership[];
  settings: { role: string; inDatabase: boolean; name: string; value: string }[];
  database: AclEntry[];
  schemas: {
    name: string;
    owner: string;
    ownerUsable: boolean;
    acl: AclEntry[];
  }[];
  objects: ObjectGroup[];
  columns: { table: string; column: string; ownerUsable: boolean; owner: string; acl: AclEntry[] }[];
  misowned: OwnedObject[];
  defaults: { role: string; schema: string | null; type: "r" | "S" | "n"; acl: AclEntry[] }[];
  extensions: { name: string; installed: boolean; schema: string | null; creatable: boolean }[];
  /** Functions of amcheck that the schema's owner may not execute yet. */
  uncheckedFunctions: { reference: string; grantable: boolean }[];
  ownSchema: { owner: string; ownerUsable: boolean; acl: AclEntry[] } | null;
  ownTables: { name: string; acl: AclEntry[] }[];
  ownFunctions: { signature: string; acl: AclEntry[] }[];
}

const grantablePredefined = [
  "pg_monitor",
  "pg_read_all_data",
  "pg_use_reserved_connections",
  "pg_maintain",
  "rds_iam",
];

/** Everything that a plan depends on, read from the catalogs in one statement. */
export async function readActualState(
  session: Session,
  managed: readonly string[],
  objectsOwner: string,
  extensions: readonly string[],
): Promise<ActualState> {
  const rows = await session.query<{ state: ActualState }>(stateQuery(session.serverVersionNumber), [
    managed,
    objectsOwner,
    extensions,
    grantablePredefined,
  ]);
  return (rows[0] as { state: ActualState }).state;
}
