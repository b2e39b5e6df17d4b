import { identifier, qualified } from "../../postgres/identifiers.ts";
import { majorOf } from "../../postgres/versions.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

interface NotEnforced {
  name: string;
  type: string;
  schema: string;
  table: string;
}

interface Disabled extends NotEnforced {
  /** Tables whose triggers are off, with the triggers' names, as SQL-free names. */
  onSchemas: string[];
  onTables: string[];
  triggers: string[];
  /** Off for everybody, or only where `session_replication_role` is not `replica`. */
  states: string[];
}

/**
 * Constraints that are written down and not kept: NOT ENFORCED (18), and foreign keys whose triggers somebody has
 * switched off (`ALTER TABLE … DISABLE TRIGGER ALL`, as loads do) and not on again.
 */
export const notEnforcedConstraints: ReviewCheck = {
  name: "not-enforced-constraints",
  title: "Is every constraint enforced?",
  area: "constraints",
  async run({ session }) {
    const declared =
      majorOf(session.serverVersionNumber) < 18
        ? []
        : await session.query<NotEnforced>(
            `select con.conname::text as name, con.contype::text as type, n.nspname::text as schema, c.relname::text as table
               from pg_constraint con
               join pg_class c on c.oid = con.conrelid
               join pg_namespace n on n.oid = c.relnamespace
              where not con.conenforced and con.conparentid = 0 and (con.coninhcount = 0 or con.conislocal)
                and ${userRelation()}
              order by 3, 4, 1`,
          );
    const disabled = await session.query<Disabled>(
      `with recursive root as (
         select oid, oid as constraint_oid from pg_constraint where contype = 'f' and conparentid = 0
         union all
         select root.oid, con.oid from root join pg_constraint con on con.conparentid = root.constraint_oid
       )
       select con.conname::text as name, con.contype::text as type, n.nspname::text as schema, c.relname::text as table,
              array_agg(tn.nspname::text order by t.oid) as "onSchemas", array_agg(tc.relname::text order by t.oid) as "onTables",
              array_agg(t.tgname::text order by t.oid) as triggers, array_agg(t.tgenabled::text order by t.oid) as states
         from pg_trigger t
         join root on root.constraint_oid = t.tgconstraint
         join pg_constraint con on con.oid = root.oid
         join pg_class c on c.oid = con.conrelid
         join pg_namespace n on n.oid = c.relnamespace
         join pg_class tc on tc.oid = t.tgrelid
         join pg_namespace tn on tn.oid = tc.relnamespace
        where t.tgisinternal and t.tgenabled in ('D', 'R') and ${userRelation()}
        group by con.oid, con.conname, con.contype, n.nspname, c.relname
        order by 3, 4, 1`,
    );
    return concludeReview({
      facts: { notEnforced: declared.length, disabled: disabled.length },
      findings: [...declared.map(ofDeclaration), ...disabled.map(ofTriggers)],
      good: ["Every constraint is enforced."],
    });
  },
};

function ofDeclaration(one: NotEnforced): ReviewFinding {
  const name = qualified(one.schema, one.table);
  const constraint = identifier(one.name);
  const isKey = one.type === "f";
  const up = [`ALTER TABLE ${name} ALTER CONSTRAINT ${constraint} ENFORCED;`];
  const down = [`ALTER TABLE ${name} ALTER CONSTRAINT ${constraint} NOT ENFORCED;`];
  return {
    check: "not-enforced-constraints",
    key: `not-enforced-constraints/${one.schema}.${one.table}.${one.name}`,
    severity: "medium",
    confidence: "certain",
    object: { schema: one.schema, table: one.table, name: one.name },
    title: `${isKey ? "foreign key" : "check constraint"} ${constraint} of ${name} is declared NOT ENFORCED`,
    evidence: { constraint: one.name, kind: isKey ? "foreign key" : "check", enforced: false },
    impact: "It looks like a rule, and any row may break it.",
    blastRadius: `whoever relies on the schema of ${name}`,
    rootCause: "It was declared NOT ENFORCED, as documentation or to make a load faster.",
    prevention: "Enforce it, or write it down as a comment instead of a constraint.",
    effort: "hours",
    remediation: isKey
      ? {
          sql: up.join("\n"),
          lock: "SHARE ROW EXCLUSIVE on both tables while the rows are checked: writes wait",
          rollback: down.join("\n"),
        }
      : {
          sql: `-- with the expression of ${constraint}:\nALTER TABLE ${name} ADD CONSTRAINT … CHECK (…) NOT VALID;\nALTER TABLE ${name} VALIDATE CONSTRAINT …;\nALTER TABLE ${name} DROP CONSTRAINT ${constraint};`,
          lock: "ACCESS EXCLUSIVE on the table for a moment, then SHARE UPDATE EXCLUSIVE while the rows are checked",
          rollback: "drop the new constraint and add the old one again",
        },
    ...(isKey
      ? {
          fix: {
            up,
            down,
            proof: ["the statement checks every row, and changes nothing when one breaks it"],
          },
        }
      : {}),
  };
}

function ofTriggers(one: Disabled): ReviewFinding {
  const name = qualified(one.schema, one.table);
  const constraint = identifier(one.name);
  const places = one.triggers.map((trigger, at) => ({
    trigger: identifier(trigger),
    table: qualified(one.onSchemas[at] ?? one.schema, one.onTables[at] ?? one.table),
    before: one.states[at] === "R" ? "ENABLE REPLICA" : "DISABLE",
  }));
  const up = places.map(({ table, trigger }) => `ALTER TABLE ${table} ENABLE TRIGGER ${trigger};`);
  const down = places.map(
    ({ table, trigger, before }) => `ALTER TABLE ${table} ${before} TRIGGER ${trigger};`,
  );
  const tables = [...new Set(places.map(({ table }) => table))];
  return {
    check: "not-enforced-constraints",
    key: `not-enforced-constraints/${one.schema}.${one.table}.${one.name}`,
    severity: "high",
    confidence: "certain",
    object: { schema: one.schema, table: one.table, name: one.name },
    title: `foreign key ${constraint} of ${name} is not enforced: its triggers are disabled`,
    evidence: { constraint: one.name, triggersDisabled: one.triggers.length, onTables: tables },
    impact: "Rows can refer to rows that are not there, while the schema says that they cannot.",
    blastRadius: `${tables.join(", ")}: every write since the triggers were disabled`,
    rootCause: "ALTER TABLE … DISABLE TRIGGER ALL, usually for a load, without the ENABLE after it.",
    prevention:
      "Load with session_replication_role = replica in the loading session only, or enable the triggers in the same transaction.",
    effort: "hours",
    remediation: {
      sql: `${up.join("\n")}\n-- Rows from meanwhile were not checked: drop the constraint and add it again NOT VALID, then VALIDATE it.`,
      lock: "SHARE ROW EXCLUSIVE on the table, for a moment; only a superuser may name these triggers",
      rollback: down.join("\n"),
    },
    fix: { up, down, proof: ["pg_trigger.tgenabled of the constraint's own triggers is D or R"] },
  };
}
