import { identifier } from "../postgres/identifiers.ts";
import type { ActualState } from "./actual.ts";
import { type Change, chunks, enumerate } from "./change.ts";
import type { DesiredState } from "./desired.ts";
import { shown } from "./names.ts";

/** Statements that change an owner are sent this many at a time. */
const objectsPerStatement = 50;

/**
 * More than this in one transaction could exceed the server's table of locks (64 a connection by default; a
 * table takes its indexes, sequences and TOAST table along).
 */
const objectsInOneTransaction = 200;

/**
 * Whether pgkeep hands an object of this owner to the owner group: what its own roles or the installing user
 * created. Objects of anybody else are only reported.
 */
export function isHandedOver(owner: string, desired: DesiredState, actual: ActualState): boolean {
  if (owner === desired.names.owner) return false;
  return owner === actual.user || desired.roles.some((role) => role.name === owner);
}

/** Schemas of the application that the owner group should own. */
export function planSchemaOwners(desired: DesiredState, actual: ActualState): Change[] {
  const owner = desired.names.owner;
  return actual.schemas.flatMap(({ name, owner: current, ownerUsable }) => {
    if (current === owner) return [];
    if (name === "public") {
      if (ownerUsable) return [];
      // Until 14 it belongs to the bootstrap superuser; from 15 on this is how every database begins.
      return [
        foreign(
          `schema public belongs to ${current}, and PUBLIC may use it`,
          "ALTER SCHEMA public OWNER TO pg_database_owner",
          current,
        ),
      ];
    }
    const sql = `ALTER SCHEMA ${identifier(name)} OWNER TO ${identifier(owner)}`;
    const what = `schema ${shown(name)}`;
    if (isHandedOver(current, desired, actual)) {
      return [handOver([{ sql, what }], current, ownerUsable, desired, actual)];
    }
    return ownerUsable ? [] : [foreign(`${what} belongs to ${current}`, sql, current)];
  });
}

/** Tables, sequences, routines and types in them. */
export function planObjectOwners(desired: DesiredState, actual: ActualState): Change[] {
  const owner = identifier(desired.names.owner);
  const byOwner = new Map<string, { sql: string; what: string; usable: boolean }[]>();
  for (const object of actual.misowned) {
    const list = byOwner.get(object.owner) ?? [];
    list.push({
      sql: `ALTER ${object.keyword} ${object.reference} OWNER TO ${owner}`,
      what: object.reference,
      usable: object.ownerUsable,
    });
    byOwner.set(object.owner, list);
  }
  const handedOver = actual.misowned.filter((object) => isHandedOver(object.owner, desired, actual)).length;
  const locking = { moves: true, ...(handedOver > objectsInOneTransaction ? { apart: true } : {}) };
  return [...byOwner].flatMap(([current, objects]) =>
    chunks(objects, objectsPerStatement).flatMap((part) => {
      const usable = part.every((object) => object.usable);
      if (isHandedOver(current, desired, actual)) {
        return [{ ...handOver(part, current, usable, desired, actual), ...locking }];
      }
      if (usable) return [];
      const what = enumerate(part.map((object) => object.what));
      const verb = part.length === 1 ? "belongs" : "belong";
      return [
        foreign(
          `${what} ${verb} to ${current}, so rights on it cannot be managed`,
          part.map(({ sql }) => sql).join(";\n"),
          current,
        ),
      ];
    }),
  );
}

function handOver(
  objects: readonly { sql: string; what: string }[],
  current: string,
  usable: boolean,
  desired: DesiredState,
  actual: ActualState,
): Change {
  const what = enumerate(objects.map((object) => object.what));
  const plural = objects.length > 1;
  const statements = objects.map(({ sql }) => sql).join(";\n");
  const role = actual.roles.find(({ name }) => name === current);
  const borrow = !usable && role?.administrable === true;
  const [member, group] = [identifier(actual.user), identifier(current)];
  return {
    kind: "repair",
    // Only a member of the owning role may give its objects away: join it for that moment.
    sql: borrow ? `GRANT ${group} TO ${member};\n${statements};\nREVOKE ${group} FROM ${member}` : statements,
    reason: `${what} ${plural ? "belong" : "belongs"} to ${current} instead of ${desired.names.owner}`,
    result: `${what} belonged to ${current}: given to ${desired.names.owner}`,
    required: false,
    ...(usable || borrow ? {} : { needs: `${current} or a superuser` }),
  };
}

function foreign(reason: string, sql: string, owner: string): Change {
  return {
    kind: "repair",
    sql,
    reason,
    result: reason,
    required: false,
    needs: `a superuser, or a role that is a member of ${owner}`,
  };
}
