import { checkableMethods, readIndexes, readTables } from "../maintenance/stored-objects.ts";
import type { Session } from "../ports/databases.ts";
import type { ProofCollector } from "./proof.ts";
import type { Stretch } from "./stretch.ts";

/**
 * Has amcheck read every page of every table, its TOAST values included, system catalogs too.
 * Needs EXECUTE on `pgkeep.check_heap`.
 */
export async function proveHeaps(session: Session, proofs: ProofCollector, stretch: Stretch): Promise<void> {
  const relations = await readTables(session);
  const { checked, problems } = await stretch.over(
    "heap-pages",
    relations,
    (relation) => `${relation.schema}.${relation.name}`,
    async (relation) => {
      const found = await session.query<{ block: number | null; item: number | null; problem: string }>(
        "select block, item, problem from pgkeep.check_heap($1::oid) limit 3",
        [relation.oid],
      );
      return found.map(({ block, item, problem }) => {
        const where = block === null ? "" : ` block ${block}${item === null ? "" : ` item ${item}`}`;
        return `table ${relation.schema}.${relation.name}${where}: ${problem}`;
      });
    },
    [session],
  );
  proofs.verdict("heap-pages", checked, problems, `every page of ${checked} tables is sound`);
}

/** Has amcheck compare every B-tree index (GIN too, from 18) with its table. Needs EXECUTE on `pgkeep.check_index`. */
export async function proveIndexes(
  session: Session,
  proofs: ProofCollector,
  stretch: Stretch,
): Promise<void> {
  const relations = await readIndexes(session);
  const checkable = checkableMethods(session);
  for (const { schema, name, method } of relations.filter((one) => !checkable.has(one.method))) {
    proofs.notAssessable(`index ${schema}.${name}: amcheck has no checker for ${method} indexes`);
  }
  const { checked, problems } = await stretch.over(
    "indexes",
    relations.filter(({ method }) => checkable.has(method)),
    ({ schema, name }) => `index ${schema}.${name}`,
    async ({ oid, schema, name, tableSchema, table }) => {
      const [row] = await session.query<{ problem: string | null }>(
        "select pgkeep.check_index($1::oid) as problem",
        [oid],
      );
      return row?.problem == null
        ? []
        : [`index ${schema}.${name} of table ${tableSchema}.${table}: ${row.problem}`];
    },
    [session],
  );
  proofs.verdict("indexes", checked, problems, `${checked} indexes agree with their tables`);
}

/** Looks for rows without the row that their foreign key promises. Needs EXECUTE on `pgkeep.validate_foreign_key`. */
export async function proveForeignKeys(
  session: Session,
  proofs: ProofCollector,
  stretch: Stretch,
): Promise<void> {
  const keys = await session.query<{ oid: number; name: string; table: string; referenced: string }>(
    `select k.oid::bigint as oid, k.conname::text as name, format('%s.%s', n.nspname, c.relname) as table,
            format('%s.%s', rn.nspname, r.relname) as referenced
     from pg_constraint k
     join pg_class c on c.oid = k.conrelid
     join pg_namespace n on n.oid = c.relnamespace
     join pg_class r on r.oid = k.confrelid
     join pg_namespace rn on rn.oid = r.relnamespace
     where k.contype = 'f' and k.convalidated and k.conparentid = 0 and c.relpersistence = 'p'
       ${session.serverVersionNumber >= 180_000 ? "and k.conenforced" : ""}
     order by k.oid`,
  );
  const { checked, problems } = await stretch.over(
    "foreign-keys",
    keys,
    (key) => `foreign key ${key.name} of ${key.table}`,
    async (key) => {
      const [row] = await session.query<{ orphans: number }>(
        "select pgkeep.validate_foreign_key($1::oid) as orphans",
        [key.oid],
      );
      const orphans = row?.orphans ?? 0;
      return orphans === 0
        ? []
        : [
            `${orphans} rows of table ${key.table} have no row in ${key.referenced} (foreign key ${key.name})`,
          ];
    },
    [session],
  );
  if (keys.length === 0) return;
  proofs.verdict("foreign-keys", checked, problems, `${checked} foreign keys hold for every row`);
}

interface SequenceState {
  table_name: string;
  column_name: string;
  next_value: number;
  column_extreme: string | null;
  ahead: boolean | null;
}

/**
 * Looks whether each sequence would hand out numbers that its column does not have yet. One that is behind on
 * the primary as well was so before the backup: the application's fault, which a restore rightly preserves.
 */
export async function proveSequences(
  session: Session,
  primary: Session | undefined,
  proofs: ProofCollector,
): Promise<void> {
  const sequences = await session.query<{ oid: number; schema: string; name: string }>(
    `select c.oid::bigint as oid, n.nspname::text as schema, c.relname::text as name
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'S' and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'`,
  );
  const problems: string[] = [];
  let checked = 0;
  for (const { oid, schema, name } of sequences) {
    const rows = await proofs.attempt(`sequence ${schema}.${name}`, () => readSequence(session, oid));
    if (rows === undefined) continue;
    checked++;
    for (const state of rows.filter(({ ahead }) => ahead === false)) {
      const text = `sequence ${schema}.${name} continues with ${state.next_value}, which column ${state.column_name} of table ${state.table_name} has passed (${state.column_extreme})`;
      if (await isBehindThere(primary, oid, state)) proofs.notAssessable(`${text}; so it is on the primary`);
      else problems.push(text);
    }
  }
  if (sequences.length === 0) return;
  proofs.verdict("sequences", checked, problems, `${checked} sequences are ahead of their columns`);
}

function readSequence(session: Session, oid: number): Promise<SequenceState[]> {
  return session.query<SequenceState>("select * from pgkeep.sequence_state($1::oid)", [oid]);
}

async function isBehindThere(
  primary: Session | undefined,
  oid: number,
  state: SequenceState,
): Promise<boolean> {
  if (primary === undefined) return false;
  try {
    const rows = await readSequence(primary, oid);
    return rows.some((row) => row.column_name === state.column_name && row.ahead === false);
  } catch {
    return false;
  }
}
