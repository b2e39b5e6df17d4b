import { bytesText } from "../words.ts";
import type { Check } from "./check.ts";
import { conclude, metric, round } from "./outcome.ts";

/**
 * `pg_database_size` looks at each file: two microseconds for each, more on a cold disk. Beyond this many
 * relations the size comes from `relpages`, which VACUUM and ANALYZE keep.
 */
const exactUpToRelations = 4000;

interface Size {
  relations: number;
  blockSize: number;
  pages: number;
  unknown: number;
}

/**
 * Size of this database, against the storage that the configuration lets it grow to
 * (`database.maxStorageGigabytes` less `health.freeStoragePercent`). Takes no locks.
 */
export const databaseSize: Check = {
  name: "database-size",
  title: "How large is the database?",
  async run({ session, config }) {
    const [row] = await session.query<Size>(
      `select count(*) as relations, current_setting('block_size')::int as "blockSize",
              coalesce(sum(greatest(relpages, 0)), 0)::float8 as pages,
              count(*) filter (where relkind in ('r', 'm') and reltuples = -1) as unknown
         from pg_class where relkind in ('r', 'm', 't', 'i', 'S')`,
    );
    if (row === undefined) throw new Error("pg_class is empty");
    const exact = row.relations <= exactUpToRelations;
    const size = exact
      ? ((await session.query<{ size: number }>("select pg_database_size(current_database()) as size"))[0]
          ?.size ?? 0)
      : row.pages * row.blockSize;
    const allowed =
      config.database.maxStorageGigabytes * 1024 ** 3 * (1 - config.health.freeStoragePercent / 100);
    const facts = {
      bytes: size,
      basis: exact ? "files" : "estimate",
      relations: row.relations,
      allowedBytes: Math.round(allowed),
      // A table that was never vacuumed or analysed counts as empty in an estimate.
      ...(exact ? {} : { relationsOfUnknownSize: row.unknown }),
    };
    return conclude({
      facts,
      metrics: [metric("DatabaseSizeBytes", size)],
      findings:
        size <= allowed
          ? []
          : [
              {
                check: "database-size",
                key: "database-size",
                severity: "high",
                confidence: "suspected",
                object: { name: session.database },
                title: `database ${JSON.stringify(session.database)} has ${bytesText(size)}, ${round((100 * size) / (config.database.maxStorageGigabytes * 1024 ** 3))} % of what the configuration lets it grow to`,
                evidence: {
                  ...facts,
                  maxStorageGigabytes: config.database.maxStorageGigabytes,
                  freeStoragePercent: config.health.freeStoragePercent,
                },
                impact:
                  "PostgreSQL stops when it cannot write its WAL; storage that autoscaling may not extend runs full.",
                blastRadius: "the whole server",
                remediation: {
                  sql: "-- raise database.maxStorageGigabytes (or set it to what this server has), or find what grew:\nSELECT oid::regclass, relpages::bigint * 8192 AS bytes FROM pg_class WHERE relkind IN ('r', 'm', 'i', 't') ORDER BY relpages DESC LIMIT 20;",
                  lock: "none",
                  rollback: "none needed",
                },
              },
            ],
    });
  },
};
