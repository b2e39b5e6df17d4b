import { identifier, qualified } from "../../postgres/identifiers.ts";
import { majorOf } from "../../postgres/versions.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { readStoredDefinitions } from "../stored-definitions.ts";
import { userRelation } from "../user-objects.ts";

interface NotEnforced {
  oid: number;
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

/** Whose sessions skip all of them; a setting of the database is everybody's. */
interface Switched {
  ofAll: boolean;
  role: string;
  database: string;
}

/**
 * Constraints that are written down and not kept: NOT ENFORCED (18), and foreign keys whose triggers somebody has
 * switched off (`ALTER TABLE … DISABLE TRIGGER ALL`, as loads do) and not on again, for a table or, by
 * `session_replication_role`, for a role.
 */
export const notEnforcedConstraints: ReviewCheck = {
  name: "not-enforced-constraints",
  title: "Is every constraint enforced?",
  area: "constraints",
  async run(context) {
    const { session } = context;
    const declared =
      majorOf(session.serverVersionNumber) < 18
        ? []
        : await session.query<NotEnforced>(
            `select con.oid::int8 as oid, con.conname::text as name, con.contype::text as type,
                    n.nspname::text as schema, c.relname::text as table
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
       select con.oid::int8 as oid, con.conname::text as name, con.contype::text as type,
              n.nspname::text as schema, c.relname::text as table, array_agg(tn.nspname::text order by t.oid) as "onSchemas", array_agg(tc.relname::text order by t.oid) as "onTables",
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
    const definitions = await readStoredDefinitions(
      context.session,
      "constraint",
      declared.map((one) => one.oid),
    );
    const switched = await session.query<Switched>(
      `select s.setrole = 0 as "ofAll", coalesce(r.rolname::text, '') as role, coalesce(d.datname::text, '') as database
         from pg_db_role_setting s
         left join pg_roles r on r.oid = s.setrole
         left join pg_database d on d.oid = s.setdatabase
        where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
          and exists (select from unnest(s.setconfig) as c(setting) where c.setting = 'session_replication_role=replica')
        order by 2, 3`,
    );
    return concludeReview({
      facts: { notEnforced: declared.length, disabled: disabled.length, switchedOffFor: switched.length },
      findings: [
        ...switched.map(ofSetting),
        ...declared.map((one) => ofDeclaration(one, definitions.get(one.oid))),
        ...disabled.map(ofTriggers),
      ],
      good: ["Every constraint is enforced."],
    });
  },
};

function ofSetting({ ofAll, role, database }: Switched): ReviewFinding {
  const scope = ofAll
    ? `DATABASE ${identifier(database)}`
    : `ROLE ${identifier(role)}${database === "" ? "" : ` IN DATABASE ${identifier(database)}`}`;
  const who = ofAll ? "everybody" : role;
  const up = [`ALTER ${scope} RESET session_replication_role;`];
  const down = [`ALTER ${scope} SET session_replication_role = 'replica';`];
  return {
    check: "not-enforced-constraints",
    key: `not-enforced-constraints/session_replication_role/${role}@${database}`,
    severity: "high",
    confidence: "certain",
    object: { name: "session_replication_role", ...(ofAll ? {} : { role }) },
    title: `sessions of ${who} check no foreign key: session_replication_role is replica for them`,
    evidence: {
      setting: "session_replication_role=replica",
      role: ofAll ? "all" : role,
      database: database || "all",
    },
    impact: "Their writes fire no trigger and check no foreign key, in any table.",
    blastRadius: `every write by ${who}`,
    rootCause: "The setting was made for a load or a logical replication and kept.",
    prevention: "SET session_replication_role in the session that loads, never for a role or a database.",
    effort: "hours",
    remediation: {
      sql: `${up.join("\n")}\n-- Rows that were written meanwhile were not checked.`,
      lock: "none; sessions that are connected keep the old value",
      rollback: down.join("\n"),
    },
    fix: { up, down, proof: ["pg_db_role_setting has session_replication_role=replica"] },
  };
}

function ofDeclaration(one: NotEnforced, definition: string | undefined): ReviewFinding {
  const name = qualified(one.schema, one.table);
  const constraint = identifier(one.name);
  const isKey = one.type === "f";
  const repair = enforcing(name, constraint, definition);
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
    remediation: { sql: repair.up.join("\n"), lock: repair.lock, rollback: repair.down.join("\n") },
    ...(definition !== undefined
      ? {
          fix: {
            up: repair.up,
            down: repair.down,
            proof: ["every row is checked, and nothing changes when one breaks it"],
          },
        }
      : {}),
  };
}

interface Repair {
  up: string[];
  down: string[];
  lock: string;
}

/**
 * In two steps, because ALTER CONSTRAINT … ENFORCED reads the rows under ACCESS EXCLUSIVE, and for checks there is no
 * such statement (18).
 */
function enforcing(name: string, constraint: string, definition: string | undefined): Repair {
  const rule = definition?.replace(/ NOT ENFORCED$/, "") ?? "… as it is declared …";
  const drop = `ALTER TABLE ${name} DROP CONSTRAINT ${constraint}, ADD CONSTRAINT ${constraint} ${rule}`;
  return {
    up: [`${drop} NOT VALID;`, `ALTER TABLE ${name} VALIDATE CONSTRAINT ${constraint};`],
    down: [`${drop} NOT ENFORCED;`],
    lock: "ACCESS EXCLUSIVE on the table, and on the one that a foreign key refers to, for a moment; SHARE UPDATE EXCLUSIVE while the rows are checked",
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
