import { bytesText } from "../../words.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck } from "../review-check.ts";
import { readSettings, type SettingFault, settingFinding } from "./server-settings.ts";

/** The default, meant to start on any machine (PostgreSQL, "Resource Consumption": 25 % of memory is a reasonable start). */
const defaultSharedBuffersBytes = 128 * 1024 ** 2;
/** A database of that size does not fit into the default a few times over. */
const largeDatabaseBytes = 1024 ** 3;
/** Below it, vacuum of a large table reads its indexes several times before version 17. */
const smallMaintenanceBytes = 64 * 1024 ** 2;
const largeTableBytes = 10 * 1024 ** 3;
/** Temporary files are normal now and then; as much an hour is a load. */
const manyTemporaryBytesAnHour = 10 * 1024 ** 3;
const enoughSeconds = 3_600;

interface Sizes {
  database: number;
  largest: number;
  temporaryBytes: number;
  temporaryFiles: number;
}

/** How memory is given out. The machine's memory is not visible from SQL, so only what is wrong on any machine is said. */
export const memorySettings: ReviewCheck = {
  name: "memory-settings",
  title: "Is memory given out with regard to the data?",
  area: "settings",
  async run(context) {
    const settings = await readSettings(context);
    const [sizes] = await context.session.query<Sizes>(
      `select coalesce(sum(greatest(relpages, 0)::float8), 0) * current_setting('block_size')::int as database,
              coalesce(max(relpages::float8) filter (where relkind in ('r', 'm')), 0) * current_setting('block_size')::int as largest,
              (select temp_bytes::float8 from pg_stat_database where datname = current_database()) as "temporaryBytes",
              (select temp_files::float8 from pg_stat_database where datname = current_database()) as "temporaryFiles"
         from pg_class where relkind in ('r', 'm', 'i', 't')`,
    );
    if (sizes === undefined) return concludeReview({ obstacle: "the database tells no sizes" });
    const faults: SettingFault[] = [];
    const shared = settings.bytes("shared_buffers");
    if (shared <= defaultSharedBuffersBytes && sizes.database > largeDatabaseBytes) {
      faults.push({
        name: "shared_buffers",
        wanted: "25 % of the machine's memory",
        severity: "high",
        confidence: "likely",
        title: `shared_buffers is ${bytesText(shared)} for ${bytesText(sizes.database)} of data`,
        impact: "Pages that are used all the time are read again and again, and dirty ones are written early",
        rootCause: "the default is meant to start on any machine",
        prevention: "derive it from the machine's memory when the server is made",
        evidence: { databaseBytes: sizes.database },
      });
    }
    if (settings.bytes("effective_cache_size") < shared) {
      faults.push({
        name: "effective_cache_size",
        wanted: "75 % of the machine's memory",
        severity: "low",
        confidence: "certain",
        title: "the planner is told of less cache than the server itself has",
        impact: "Index scans look dearer than they are, and large tables are read whole instead",
        rootCause: "shared_buffers was raised without it",
        prevention: "change the two together",
        evidence: { sharedBuffersBytes: shared },
      });
    }
    const maintenance = settings.bytes("maintenance_work_mem");
    const vacuum =
      settings.number("autovacuum_work_mem") === -1 ? maintenance : settings.bytes("autovacuum_work_mem");
    if (Math.max(maintenance, vacuum) <= smallMaintenanceBytes && sizes.largest > largeTableBytes) {
      faults.push({
        name: "maintenance_work_mem",
        wanted: "512MB",
        severity: "low",
        confidence: "likely",
        title: `vacuum and index builds get ${bytesText(maintenance)} for tables of up to ${bytesText(sizes.largest)}`,
        impact: "Index builds sort on disk, and before version 17 vacuum reads every index several times",
        rootCause: "the default was never raised as the tables grew",
        prevention: "look at it when a table passes ten gigabytes",
        evidence: { largestTableBytes: sizes.largest },
      });
    }
    const { seconds } = context.window;
    const hourly =
      seconds === null || seconds < enoughSeconds ? null : (sizes.temporaryBytes * 3_600) / seconds;
    if (hourly !== null && hourly > manyTemporaryBytesAnHour) {
      faults.push({
        name: "work_mem",
        wanted: "more for the logins whose statements sort and hash much (ALTER ROLE … SET work_mem)",
        severity: "medium",
        confidence: "suspected",
        title: `statements write ${bytesText(hourly)} of temporary files an hour`,
        impact: "Sorts and hashes that do not fit into work_mem go through the disk",
        rootCause: "work_mem is small for some statements, or an index or a condition is missing in them",
        prevention: "log temporary files (log_temp_files), and look at those statements first",
        evidence: { temporaryFiles: sizes.temporaryFiles, bytesAnHour: Math.round(hourly) },
        blastRadius: "the statements that sort or hash much",
      });
    }
    return concludeReview({
      findings: faults.map((fault) => advise(settingFinding("memory-settings", settings, fault), fault)),
      facts: {
        sharedBuffersBytes: shared,
        workMemBytes: settings.bytes("work_mem"),
        databaseBytes: sizes.database,
        temporaryBytesAnHour: hourly === null ? null : round(hourly, 0),
      },
      good: ["Memory is given out with regard to the size of the data."],
    });
  },
};

/** Where the right value depends on the machine, no statement is offered that could be run unread. */
function advise<Finding extends { remediation: { sql: string } }>(
  finding: Finding,
  { name, wanted }: SettingFault,
): Finding {
  if (!/\s/.test(wanted)) return finding;
  return { ...finding, remediation: { ...finding.remediation, sql: `-- Set ${name} to ${wanted}.` } };
}
