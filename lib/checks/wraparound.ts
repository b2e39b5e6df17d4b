import { qualified } from "../postgres/identifiers.ts";
import { countText } from "../words.ts";
import type { Check, CheckContext, Finding, Severity } from "./check.ts";
import { conclude, metric, round } from "./outcome.ts";

/**
 * Ids that can be given out from the oldest one on: PostgreSQL refuses new transactions (and multixacts)
 * 3,000,000 before the 2^31 at which they would wrap (`SetTransactionIdLimit`, varsup.c; multixact.c).
 */
const idsUntilStop = 2 ** 31 - 1 - 3_000_000;

/** Autovacuum begins at the trigger itself; a tenth beyond, it does not keep up. */
const overdueRatio = 1.1;

/** At most this many relations are reported one by one. */
const shown = 20;

interface Relation {
  schema: string;
  name: string;
  /** For a TOAST table: the table it belongs to. */
  ownerSchema: string | null;
  ownerName: string | null;
  temporary: boolean;
  xidAge: number;
  xidTrigger: number;
  multixactAge: number;
  multixactTrigger: number;
  ratio: number;
  failsafeAge: number;
  multixactFailsafeAge: number;
  /** How many relations are overdue altogether. */
  overdue: number;
}

interface DatabaseAge {
  name: string;
  current: boolean;
  xidAge: number;
  multixactAge: number;
}

/**
 * Ages of transaction ids and multixacts: of every database against the point where PostgreSQL stops
 * (limits `health.transactionIdsHigh` and `transactionIdsCritical`), and of each relation of this database
 * against its own anti-wraparound trigger, with its own storage parameters.
 */
export const wraparound: Check = {
  name: "wraparound",
  title: "Are transaction ids running out?",
  async run(context) {
    const databases = await readDatabases(context);
    const relations = await readRelations(context);
    const oldestXid = Math.max(0, ...databases.map(({ xidAge }) => xidAge));
    const oldestMultixact = Math.max(0, ...databases.map(({ multixactAge }) => multixactAge));
    const worst = relations[0];
    const percent = (age: number) => round((100 * age) / idsUntilStop, 2);
    const triggerPercent = round(100 * (worst?.ratio ?? 0), 2);
    return conclude({
      findings: [
        ...databases.flatMap((database) => assessDatabase(context, database)),
        ...relations
          .filter(({ ratio }) => ratio >= overdueRatio)
          .map((relation) => assessRelation(context, relation)),
      ],
      facts: {
        oldestTransactionIdAge: oldestXid,
        oldestMultixactAge: oldestMultixact,
        transactionIdPercentOfStop: percent(oldestXid),
        multixactPercentOfStop: percent(oldestMultixact),
        highestPercentOfTrigger: triggerPercent,
        highestRelation: worst === undefined ? null : shownName(worst),
        overdueRelations: worst?.overdue ?? 0,
      },
      metrics: [
        metric("TransactionIdAgePercent", percent(oldestXid)),
        metric("MultixactAgePercent", percent(oldestMultixact)),
        metric("WraparoundTriggerPercent", triggerPercent),
      ],
    });
  },
};

function readDatabases({ session }: CheckContext): Promise<DatabaseAge[]> {
  return session.query<DatabaseAge>(
    `select datname::text as name, datname = current_database() as current,
            age(datfrozenxid) as "xidAge", mxid_age(datminmxid) as "multixactAge"
       from pg_database order by 3 desc`,
  );
}

/**
 * The relations closest to their trigger, or furthest beyond. As autovacuum decides it (autovacuum.c,
 * `relation_needs_vacanalyze`, `table_recheck_autovac`): a storage parameter can only lower the server's
 * setting, and a TOAST table without storage parameters of its own has those of its table.
 * One pass over pg_class, plus one over the few relations with storage parameters: no locks, no files.
 */
function readRelations({ session }: CheckContext): Promise<Relation[]> {
  return session.query<Relation>(
    `with settings as materialized (
       select current_setting('autovacuum_freeze_max_age')::float8 as xid,
              current_setting('autovacuum_multixact_freeze_max_age')::float8 as multixact,
              current_setting('vacuum_failsafe_age')::float8 as failsafe,
              current_setting('vacuum_multixact_failsafe_age')::float8 as multixact_failsafe),
     parameters as materialized (
       select c.oid, c.reltoastrelid,
              (select option_value::float8 from pg_options_to_table(c.reloptions) where option_name = 'autovacuum_freeze_max_age') as xid,
              (select option_value::float8 from pg_options_to_table(c.reloptions) where option_name = 'autovacuum_multixact_freeze_max_age') as multixact
         from pg_class c where c.reloptions is not null and c.relkind in ('r', 'm', 't')),
     effective as materialized (
       select oid, xid, multixact from parameters
       union all
       select reltoastrelid, xid, multixact from parameters p
        where reltoastrelid <> 0 and not exists (select from parameters own where own.oid = p.reltoastrelid)),
     ranked as materialized (
       select c.oid, greatest(age(c.relfrozenxid) / least((select xid from settings), e.xid),
                              mxid_age(c.relminmxid) / least((select multixact from settings), e.multixact)) as ratio
         from pg_class c left join effective e on e.oid = c.oid
        where c.relkind in ('r', 'm', 't') and c.relfrozenxid <> '0'::xid)
     select n.nspname::text as schema, c.relname::text as name, m.nspname::text as "ownerSchema", t.relname::text as "ownerName",
            c.relpersistence = 't' as temporary,
            age(c.relfrozenxid) as "xidAge", least(s.xid, e.xid) as "xidTrigger",
            mxid_age(c.relminmxid) as "multixactAge", least(s.multixact, e.multixact) as "multixactTrigger",
            k.ratio, (select count(*) from ranked where ratio >= $1) as overdue,
            greatest(s.failsafe, s.xid * 1.05) as "failsafeAge",
            greatest(s.multixact_failsafe, s.multixact * 1.05) as "multixactFailsafeAge"
       from (select oid, ratio from ranked order by ratio desc, oid limit $2) k
       join pg_class c on c.oid = k.oid
       join pg_namespace n on n.oid = c.relnamespace
       cross join settings s
       left join effective e on e.oid = c.oid
       left join pg_depend d on c.relkind = 't' and d.classid = 'pg_class'::regclass and d.objid = c.oid and d.objsubid = 0
                            and d.refclassid = 'pg_class'::regclass and d.deptype = 'i'
       left join pg_class t on t.oid = d.refobjid
       left join pg_namespace m on m.oid = t.relnamespace
      order by k.ratio desc, k.oid`,
    [overdueRatio, shown],
  );
}

const shownName = (relation: Relation): string => `${relation.schema}.${relation.name}`;

/** Severity of an age by the limits of the health check; undefined below all of them. */
function severityOf({ config }: CheckContext, age: number): Severity | undefined {
  if (age >= config.health.transactionIdsCritical) return "critical";
  if (age >= config.health.transactionIdsHigh) return "high";
  return undefined;
}

const stopImpact =
  "When the ids run out, PostgreSQL refuses every command that needs a new one, until old rows are frozen.";

function assessDatabase(context: CheckContext, database: DatabaseAge): Finding[] {
  return (
    [
      ["transaction id", "xid", database.xidAge],
      ["multixact id", "multixact", database.multixactAge],
    ] as const
  ).flatMap(([what, kind, age]): Finding[] => {
    const severity = severityOf(context, age);
    if (severity === undefined) return [];
    return [
      {
        check: "wraparound",
        key: `wraparound/${kind}/database/${database.name}`,
        severity,
        confidence: "certain",
        object: { name: database.name },
        title: `the oldest ${what} of database ${JSON.stringify(database.name)} is ${age} old, ${round((100 * age) / idsUntilStop)} % of the way to the stop`,
        evidence: {
          age,
          stopAge: idsUntilStop,
          highAge: context.config.health.transactionIdsHigh,
          criticalAge: context.config.health.transactionIdsCritical,
        },
        impact: stopImpact,
        blastRadius: "the whole server, every database of it",
        remediation: {
          sql: `-- in database ${JSON.stringify(database.name)}, after ending what holds the horizon: old transactions, prepared ones, slots\nVACUUM;`,
          lock: "SHARE UPDATE EXCLUSIVE on one table after the other",
          rollback: "none needed",
        },
      },
    ];
  });
}

function assessRelation(context: CheckContext, relation: Relation): Finding {
  const beyondFailsafe =
    relation.xidAge >= relation.failsafeAge || relation.multixactAge >= relation.multixactFailsafeAge;
  const severity = beyondFailsafe
    ? "critical"
    : (severityOf(context, Math.max(relation.xidAge, relation.multixactAge)) ?? "medium");
  const schema = relation.ownerSchema ?? relation.schema;
  const table = relation.ownerName ?? relation.name;
  const byXid = relation.xidAge / relation.xidTrigger >= relation.multixactAge / relation.multixactTrigger;
  const [age, trigger] = byXid
    ? [relation.xidAge, relation.xidTrigger]
    : [relation.multixactAge, relation.multixactTrigger];
  const toast = relation.ownerName === null ? "" : "the TOAST table of ";
  return {
    check: "wraparound",
    key: `wraparound/relation/${shownName(relation)}`,
    severity,
    confidence: "certain",
    object: { schema, table },
    title: `${toast}${qualified(schema, table)} has ${byXid ? "transaction" : "multixact"} ids ${age} old: ${round((100 * age) / trigger)} % of its own anti-wraparound trigger`,
    evidence: {
      relation: shownName(relation),
      temporary: relation.temporary,
      xidAge: relation.xidAge,
      xidTrigger: relation.xidTrigger,
      multixactAge: relation.multixactAge,
      multixactTrigger: relation.multixactTrigger,
      percentOfTrigger: round(100 * relation.ratio),
      overdueRelations: relation.overdue,
    },
    impact: relation.temporary
      ? `Autovacuum cannot freeze another session's temporary table. ${stopImpact}`
      : `Autovacuum should have frozen it and has not: something holds it up. ${stopImpact}`,
    blastRadius: `${countText(relation.overdue, "relation")} now; in the end the whole server`,
    remediation: relation.temporary
      ? {
          sql: `DROP TABLE ${qualified(schema, table)};`,
          lock: "ACCESS EXCLUSIVE on that table",
          rollback: "none: end the session that owns it, or let it drop its table",
        }
      : {
          sql: `VACUUM ${qualified(schema, table)};`,
          lock: "SHARE UPDATE EXCLUSIVE",
          rollback: "none needed",
        },
  };
}
