import { identifier, qualified } from "../../postgres/identifiers.ts";
import { majorOf } from "../../postgres/versions.ts";
import { countText } from "../../words.ts";
import type { Severity } from "../check.ts";
import { cutName } from "../indexes/creations.ts";
import { readTables, type TableEntry } from "../indexes/tables.ts";
import { concludeReview, type Fix, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

interface Keyless {
  oid: number;
  schema: string;
  table: string;
  kind: "r" | "p";
  /** `d` default, `n` nothing, `f` full, `i` index. */
  identity: string;
  isUnlogged: boolean;
  /** Some publication sends its updates or deletes. */
  isPublished: boolean;
  hasId: boolean;
  /** A unique index of columns that are all NOT NULL: the key that it could have. */
  candidate: string | null;
  candidateColumns: string[] | null;
  candidateConstraint: string | null;
}

/**
 * Tables without a primary key, of partitioned tables the parent only. Without one, logical replication of updates and
 * deletes fails or reads the whole table for each row (PostgreSQL, "Logical Replication: Publication").
 */
export const tablesWithoutPrimaryKey: ReviewCheck = {
  name: "tables-without-primary-key",
  title: "Has each table a primary key?",
  area: "constraints",
  async run(context) {
    const found = await context.session.query<Keyless>(keylessQuery(context.session.serverVersionNumber));
    const tables = await readTables(context);
    const count = tables.all.filter((one) => one.kind !== "m").length;
    return concludeReview({
      facts: { tables: count, withoutPrimaryKey: found.length },
      findings: found.map((one) => finding(one, tables.byOid.get(one.oid))),
      good: count > 0 ? [`Each of the ${countText(count, "table")} has a primary key.`] : [],
    });
  },
};

function keylessQuery(serverVersionNumber: number): string {
  const inSchema =
    majorOf(serverVersionNumber) >= 15
      ? "or exists (select from pg_publication_namespace pn where pn.pnpubid = p.oid and pn.pnnspid = c.relnamespace)"
      : "";
  return `
    select c.oid::int8 as oid, n.nspname::text as schema, c.relname::text as table, c.relkind::text as kind,
           c.relreplident::text as identity, c.relpersistence = 'u' as "isUnlogged",
           exists (select from pg_publication p
                    where (p.pubupdate or p.pubdelete)
                      and (p.puballtables ${inSchema}
                           or exists (select from pg_publication_rel pr where pr.prpubid = p.oid and pr.prrelid = c.oid)))
             as "isPublished",
           exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'id' and not a.attisdropped) as "hasId",
           k.name as candidate, k.columns as "candidateColumns", k.constraint_name as "candidateConstraint"
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      left join lateral (
        select i.relname::text as name,
               (select conname::text from pg_constraint con where con.conindid = i.oid and con.contype = 'u') as constraint_name,
               (select array_agg(a.attname::text order by u.place)
                  from unnest(x.indkey) with ordinality as u(number, place)
                  join pg_attribute a on a.attrelid = c.oid and a.attnum = u.number) as columns
          from pg_index x join pg_class i on i.oid = x.indexrelid
         where x.indrelid = c.oid and x.indisunique and x.indimmediate and x.indisvalid and x.indislive
           and x.indpred is null and x.indexprs is null and x.indnatts = x.indnkeyatts
           and not exists (select from unnest(x.indkey) as u(number)
                             join pg_attribute a on a.attrelid = c.oid and a.attnum = u.number
                            where not a.attnotnull)
         order by x.indnkeyatts, i.oid limit 1) k on true
     where c.relkind in ('r', 'p') and not c.relispartition and ${userRelation()}
       and not exists (select from pg_index x where x.indrelid = c.oid and x.indisprimary)
     order by c.relpages desc, c.oid`;
}

function severityOf(one: Keyless, table: TableEntry | undefined): Severity {
  if (one.isPublished && "dn".includes(one.identity)) return "high";
  // What is only appended to, or is empty, is told apart by nobody yet: a log, a staging table.
  return table !== undefined && table.updated + table.deleted === 0 ? "low" : "medium";
}

function finding(one: Keyless, table: TableEntry | undefined): ReviewFinding {
  const { schema, candidate, candidateColumns } = one;
  const name = qualified(schema, one.table);
  const failsNow = one.isPublished && "dn".includes(one.identity);
  const repair = repairOf(one, name);
  return {
    check: "tables-without-primary-key",
    key: `tables-without-primary-key/${schema}.${one.table}`,
    severity: severityOf(one, table),
    confidence: "certain",
    object: { schema, table: one.table },
    title: `table ${name} has no primary key`,
    evidence: {
      rows: Math.round(table?.rows ?? 0),
      updates: table?.updated ?? 0,
      deletes: table?.deleted ?? 0,
      uniqueNotNull: candidateColumns === null ? "none" : candidateColumns.join(", "),
      replicaIdentity: { d: "default", n: "nothing", f: "full", i: "index" }[one.identity] ?? one.identity,
      published: one.isPublished,
    },
    impact: failsNow
      ? "It is published without a replica identity: every UPDATE and DELETE of it fails."
      : `Rows can be there twice and cannot be named one by one; ${one.identity === "f" ? "a subscriber looks for each changed row in the whole table" : "it cannot be replicated logically with its updates and deletes (blue/green deployments, upgrades without downtime)"}.`,
    blastRadius: failsNow
      ? `every write to ${name} but INSERT`
      : `${name} and what refers to its rows; tools that page, merge or replicate by key`,
    rootCause:
      candidate === null ? "It was made without a key." : "Its key is declared as a unique index only.",
    prevention: "Require PRIMARY KEY in each CREATE TABLE; run this review in CI.",
    effort: candidate === null ? "hours" : "minutes",
    remediation: { sql: repair.sql, lock: repair.lock, rollback: repair.rollback },
    ...(repair.fix === undefined ? {} : { fix: repair.fix }),
  };
}

interface Repair {
  sql: string;
  lock: string;
  rollback: string;
  fix?: Fix;
}

function repairOf(one: Keyless, name: string): Repair {
  const moment = "ACCESS EXCLUSIVE on the table, for a moment";
  if (one.candidate === null || one.candidateColumns === null) {
    const column = identifier(one.hasId ? "row_id" : "id");
    return {
      sql: `ALTER TABLE ${name} ADD COLUMN ${column} bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;`,
      lock: "ACCESS EXCLUSIVE on the table while it is rewritten: for a large one add the column without a default, fill it in batches, build a unique index concurrently and add the key USING INDEX",
      rollback: `ALTER TABLE ${name} DROP COLUMN ${column};`,
    };
  }
  const columns = one.candidateColumns.map(identifier).join(", ");
  if (one.kind === "p") {
    const key = identifier(cutName(one.table, "_pkey"));
    return {
      sql: `ALTER TABLE ${name} ADD CONSTRAINT ${key} PRIMARY KEY (${columns});`,
      lock: "ACCESS EXCLUSIVE on the table and its partitions while the index is built",
      rollback: `ALTER TABLE ${name} DROP CONSTRAINT ${key};`,
    };
  }
  const index = identifier(one.candidate);
  const proof = [`${columns}: unique by ${qualified(one.schema, one.candidate)}, and all NOT NULL`];
  if (one.candidateConstraint === null) {
    // The index becomes the key's: dropping the key drops it.
    const up = [`ALTER TABLE ${name} ADD CONSTRAINT ${index} PRIMARY KEY USING INDEX ${index};`];
    const down = [
      `ALTER TABLE ${name} DROP CONSTRAINT ${index};`,
      `CREATE UNIQUE INDEX CONCURRENTLY ${index} ON ${name} (${columns});`,
    ];
    return { sql: up.join("\n"), lock: moment, rollback: down.join("\n"), fix: { up, down, proof } };
  }
  const added = identifier(cutName(one.table, "_pkey"));
  const up = [
    `CREATE UNIQUE INDEX CONCURRENTLY ${added} ON ${name} (${columns});`,
    `ALTER TABLE ${name} ADD CONSTRAINT ${added} PRIMARY KEY USING INDEX ${added};`,
  ];
  const down = [`ALTER TABLE ${name} DROP CONSTRAINT ${added};`];
  return {
    sql: `${up.join("\n")}\n-- The unique constraint ${identifier(one.candidateConstraint)} on the same columns can go then, unless foreign keys refer to it.`,
    lock: `SHARE UPDATE EXCLUSIVE on the table while the index is built, then ${moment}`,
    rollback: down.join("\n"),
    fix: { up, down, proof },
  };
}
