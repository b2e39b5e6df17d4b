import type { JobConfig } from "../config/schema.ts";
import type { TableName } from "../maintenance/table-name.ts";
import type { Session } from "../ports/databases.ts";
import { qualified } from "../postgres/identifiers.ts";

/** One table of `partitions.tables`. */
export type Declared = JobConfig["partitions"]["tables"][number];

/** How the key is reckoned with: its type, and the range type that bounds of that type make. */
export type KeyKind = "date" | "timestamp" | "timestamptz" | "integer";

export interface ParentFacts {
  oid: number;
  schema: string;
  table: string;
  owner: string;
  /** Quoted. */
  name: string;
  key: string;
  keyKind: KeyKind;
  /** The greatest value of the key's type, for integers. */
  greatest: number;
  /** The session acts as the owner by SET ROLE; undefined when it is the owner. */
  actAs: string | undefined;
  defaultPartition: DefaultPartition | undefined;
  partitions: Partition[];
  /** Foreign keys of other tables that refer to this one. */
  referencedBy: ForeignKey[];
  /** Tables that this one refers to, quoted, where the session may lock them. */
  refersTo: string[];
}

export interface DefaultPartition {
  oid: number;
  name: string;
  pages: number;
  hasRules: boolean;
  /** Neither a foreign table nor partitioned itself. */
  isPlain: boolean;
}

export interface ForeignKey {
  constraint: string;
  table: string;
}

export interface Partition {
  oid: number;
  schema: string;
  table: string;
  name: string;
  kind: "r" | "p" | "f";
  isDetachPending: boolean;
  /** As text of the key's type; null: unbounded. */
  from: string | null;
  to: string | null;
}

/** Why pgkeep does not look after the table. */
export interface Refusal {
  kind: "refused" | "not permitted";
  why: string;
  remedy: string;
}

interface ParentRow {
  oid: number;
  kind: string;
  isPartition: boolean;
  owner: string;
  strategy: string | null;
  columns: number | null;
  key: string | null;
  type: string | null;
  defaultOid: number;
  isOwner: boolean;
  mayAct: boolean;
  mayCreate: boolean;
}

const kinds: Readonly<Record<string, { kind: KeyKind; greatest: number }>> = {
  date: { kind: "date", greatest: 0 },
  "timestamp without time zone": { kind: "timestamp", greatest: 0 },
  "timestamp with time zone": { kind: "timestamptz", greatest: 0 },
  smallint: { kind: "integer", greatest: 32_767 },
  integer: { kind: "integer", greatest: 2_147_483_647 },
  // Beyond it numbers of JavaScript are not exact; a table gets there after nine quadrillion rows.
  bigint: { kind: "integer", greatest: Number.MAX_SAFE_INTEGER },
};

/** Everything about a table that decides what is done with it. Bounds are read with DateStyle ISO and time zone UTC. */
export async function readParent(
  session: Session,
  given: TableName,
  declared: Declared,
): Promise<ParentFacts | Refusal> {
  const name = qualified(given.schema, given.table);
  const refuse = (why: string, remedy: string): Refusal => ({ kind: "refused", why, remedy });
  // A role may be acted for with SET since 16; before, every member could.
  const membership = session.serverVersionNumber >= 160000 ? "SET" : "MEMBER";
  const rows = await session.query<ParentRow>(
    `select c.oid::int8 as oid, c.relkind::text as kind, c.relispartition as "isPartition",
            pg_get_userbyid(c.relowner)::text as owner, p.partstrat::text as strategy, p.partnatts::int as columns,
            a.attname::text as key, format_type(a.atttypid, null) as type, coalesce(p.partdefid, 0)::int8 as "defaultOid",
            pg_get_userbyid(c.relowner) = current_user as "isOwner",
            pg_has_role(c.relowner, $3) as "mayAct",
            has_schema_privilege(c.relowner, c.relnamespace, 'CREATE') as "mayCreate"
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
       left join pg_partitioned_table p on p.partrelid = c.oid
       left join pg_attribute a on a.attrelid = c.oid and a.attnum = p.partattrs[0] and a.attnum > 0
      where n.nspname = $1 and c.relname = $2`,
    [given.schema, given.table, membership],
  );
  const row = rows[0];
  if (row === undefined)
    return refuse("there is no such table", "create it, or take it out of partitions.tables");
  if (row.kind !== "p" || row.strategy === null) {
    return refuse(
      "it is not a partitioned table",
      "create it with PARTITION BY RANGE, and move its rows there",
    );
  }
  if (row.strategy !== "r" || row.columns !== 1 || row.key === null) {
    return refuse(
      "it is not partitioned by RANGE of one column",
      "make its partitions by hand: only ranges of a time or of an integer go on by themselves",
    );
  }
  const kind = kinds[row.type ?? ""];
  if (kind === undefined) {
    return refuse(
      row.type === "uuid"
        ? "its key is a uuid: where a time begins in version 7 depends on how they are made, and other versions have no order"
        : `its key is of type ${row.type}`,
      "partition it by a date, timestamp, timestamptz, smallint, integer or bigint column",
    );
  }
  const isNumber = typeof declared.interval === "number";
  if (isNumber !== (kind.kind === "integer") || (kind.kind === "date" && declared.interval === "hour")) {
    return refuse(
      `its key is of type ${row.type}, which has no interval of ${declared.interval}`,
      "give a number of ids for integers, and a part of the calendar for times",
    );
  }
  if (row.isPartition) {
    return refuse(
      "it is itself a partition: tables that are partitioned twice are not supported",
      "make its partitions by hand",
    );
  }
  if (!row.isOwner && !row.mayAct) {
    return {
      kind: "not permitted",
      why: `${session.user} may not act for ${row.owner}, who owns it: only the owner can attach and detach partitions`,
      remedy:
        "run `pgkeep roles apply`, which makes the maintenance role a member of the owner where partitions are declared, or grant it by hand",
    };
  }
  if (!row.mayCreate) {
    return {
      kind: "not permitted",
      why: `${row.owner}, who owns it, may not create tables in schema ${given.schema}`,
      remedy: `GRANT CREATE ON SCHEMA ${given.schema} TO ${row.owner}`,
    };
  }
  const partitions = await readPartitions(session, row.oid);
  const nested = partitions.ranges.find((partition) => partition.kind === "p");
  if (nested !== undefined) {
    return refuse(
      `its partition ${nested.name} is partitioned itself: tables that are partitioned twice are not supported`,
      "make its partitions by hand",
    );
  }
  return {
    oid: row.oid,
    ...given,
    name,
    owner: row.owner,
    key: row.key,
    keyKind: kind.kind,
    greatest: kind.greatest,
    actAs: row.isOwner ? undefined : row.owner,
    defaultPartition: row.defaultOid === 0 ? undefined : partitions.default,
    partitions: partitions.ranges,
    ...(await readForeignKeys(session, row.oid, row.owner)),
  };
}

interface PartitionRow extends Omit<Partition, "name"> {
  isDefault: boolean;
  pages: number;
  hasRules: boolean;
}

async function readPartitions(session: Session, parentOid: number) {
  const rows = await session.query<PartitionRow>(
    `select c.oid::int8 as oid, n.nspname::text as schema, c.relname::text as table, c.relkind::text as kind,
            i.inhdetachpending as "isDetachPending", c.relpages::int8 as pages, c.relhasrules as "hasRules",
            b.bound = 'DEFAULT' as "isDefault",
            nullif(trim(both '''' from b.ends[1]), 'MINVALUE') as "from",
            nullif(trim(both '''' from b.ends[2]), 'MAXVALUE') as "to"
       from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace
      cross join lateral (select e.bound, regexp_match(e.bound, '^FOR VALUES FROM \\((.*)\\) TO \\((.*)\\)$') as ends
                            from (select pg_get_expr(c.relpartbound, c.oid) as bound) e) b
      where i.inhparent = $1
      order by c.oid`,
    [parentOid],
  );
  const ranges: Partition[] = [];
  let found: DefaultPartition | undefined;
  for (const { isDefault, pages, hasRules, ...row } of rows) {
    const name = qualified(row.schema, row.table);
    if (isDefault) found = { oid: row.oid, name, pages, hasRules, isPlain: row.kind === "r" };
    else ranges.push({ ...row, name });
  }
  return { ranges, default: found };
}

async function readForeignKeys(session: Session, parentOid: number, owner: string) {
  const rows = await session.query<{
    refers: boolean;
    constraint: string;
    schema: string;
    table: string;
    mayLock: boolean;
  }>(
    `select k.conrelid = $1 as refers, k.conname::text as constraint, n.nspname::text as schema, c.relname::text as table,
            has_table_privilege($2::text, c.oid, 'UPDATE, DELETE, TRUNCATE') as "mayLock"
       from pg_constraint k
       join pg_class c on c.oid = case when k.conrelid = $1 then k.confrelid else k.conrelid end
       join pg_namespace n on n.oid = c.relnamespace
      where k.contype = 'f' and k.conparentid = 0 and $1 in (k.conrelid, k.confrelid)
      order by c.oid`,
    [parentOid, owner],
  );
  return {
    referencedBy: rows
      .filter(({ refers }) => !refers)
      .map(({ constraint, schema, table }) => ({ constraint, table: qualified(schema, table) })),
    refersTo: [
      ...new Set(
        rows
          .filter(({ refers, mayLock }) => refers && mayLock)
          .map(({ schema, table }) => qualified(schema, table)),
      ),
    ],
  };
}
