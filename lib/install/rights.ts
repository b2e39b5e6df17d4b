import { identifier } from "../postgres/identifiers.ts";
import type { AclEntry } from "./actual.ts";
import { type Change, chunks, enumerate } from "./change.ts";
import { everybody, type Rights } from "./desired.ts";

/** Something that privileges are granted on. */
export interface Target {
  /** Follows ON: `TABLE`, `SEQUENCE`, `SCHEMA`, `DATABASE`, `FUNCTION`. */
  type: string;
  /** Quoted and qualified; empty where the type says it all (default privileges). */
  reference: string;
  /** For people. */
  label: string;
  owner: string;
}

interface Difference {
  verb: "grant" | "revoke" | "revoke grant option";
  grantee: string;
  privileges: string;
  /** Who granted what is to be revoked, when that is not the owner. */
  grantor: string | undefined;
  grantorUsable: boolean;
  target: Target;
}

/** Statements name at most this many objects. */
const objectsPerStatement = 50;

/**
 * The grants and revocations that turn each target's access list into `wanted`. Only managed roles and PUBLIC
 * are looked at, and never the owner, whose rights are its own business.
 */
export function planRights(
  targets: readonly { target: Target; wanted: Rights; acl: readonly AclEntry[] }[],
  options: { required?: boolean; needs?: string } = {},
): Change[] {
  const groups = new Map<string, Difference[]>();
  for (const { target, wanted, acl } of targets) {
    for (const difference of differences(target, wanted, acl)) {
      const { verb, grantee, privileges, grantor } = difference;
      const key = JSON.stringify([target.type, verb, grantee, privileges, grantor]);
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [difference]);
      else group.push(difference);
    }
  }
  return [...groups.values()].flatMap((group) =>
    chunks(group, objectsPerStatement).map((part) => statement(part, options)),
  );
}

function differences(target: Target, wanted: Rights, acl: readonly AclEntry[]): Difference[] {
  const result: Difference[] = [];
  const add = (verb: Difference["verb"], grantee: string, privileges: string[], entry?: AclEntry) => {
    if (privileges.length === 0) return;
    const other = entry !== undefined && entry.grantor !== target.owner;
    result.push({
      verb,
      grantee,
      privileges: [...privileges].sort().join(", "),
      grantor: other ? entry.grantor : undefined,
      grantorUsable: !other || entry.grantorUsable,
      target,
    });
  };
  for (const [grantee, privileges] of Object.entries(wanted)) {
    if (grantee === target.owner) continue;
    const held = acl.filter((entry) => entry.grantee === grantee).map((entry) => entry.privilege);
    add(
      "grant",
      grantee,
      privileges.filter((privilege) => !held.includes(privilege)),
    );
  }
  const byGrant = new Map<string, AclEntry[]>();
  for (const entry of acl) {
    const key = JSON.stringify([entry.grantee, entry.grantor]);
    byGrant.set(key, [...(byGrant.get(key) ?? []), entry]);
  }
  for (const granted of byGrant.values()) {
    const first = granted[0] as AclEntry;
    const allowed = wanted[first.grantee] ?? [];
    const extra = granted.filter(({ privilege }) => !allowed.includes(privilege));
    add(
      "revoke",
      first.grantee,
      extra.map(({ privilege }) => privilege),
      first,
    );
    const onward = granted.filter(({ privilege, grantable }) => grantable && allowed.includes(privilege));
    add(
      "revoke grant option",
      first.grantee,
      onward.map(({ privilege }) => privilege),
      first,
    );
  }
  return result;
}

function statement(part: readonly Difference[], options: { required?: boolean; needs?: string }): Change {
  const { verb, grantee, privileges, grantor, grantorUsable, target } = part[0] as Difference;
  const who = grantee === everybody ? "PUBLIC" : grantee;
  const to = grantee === everybody ? "PUBLIC" : identifier(grantee);
  const on = `${target.type} ${part.map((difference) => difference.target.reference).join(", ")}`.trimEnd();
  const objects = enumerate(part.map((difference) => difference.target.label));
  const needs = options.needs ?? (grantorUsable ? undefined : `${grantor}, who granted it, or a superuser`);
  const shared = { required: options.required === true, ...(needs === undefined ? {} : { needs }) };
  const asGrantor = (sql: string) =>
    grantor === undefined ? sql : `SET LOCAL ROLE ${identifier(grantor)};\n${sql};\nRESET ROLE`;
  switch (verb) {
    case "grant":
      return {
        kind: "grant",
        sql: `GRANT ${privileges} ON ${on} TO ${to}`,
        reason: `${who} lacks ${privileges} on ${objects}`,
        result: `${who} lacked ${privileges} on ${objects}: granted`,
        ...shared,
      };
    case "revoke":
      return {
        kind: "revoke",
        sql: asGrantor(`REVOKE ${privileges} ON ${on} FROM ${to} CASCADE`),
        reason: `${who} has ${privileges} on ${objects}`,
        result: `${who} had ${privileges} on ${objects}: revoked`,
        ...shared,
        required: false,
      };
    case "revoke grant option":
      return {
        kind: "revoke",
        sql: asGrantor(`REVOKE GRANT OPTION FOR ${privileges} ON ${on} FROM ${to} CASCADE`),
        reason: `${who} may grant ${privileges} on ${objects}`,
        result: `${who} could grant ${privileges} on ${objects}: revoked`,
        ...shared,
        required: false,
      };
  }
}
