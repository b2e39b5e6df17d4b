import { connect } from "../../../lib/postgres/connect.ts";
import { identifier, literal } from "../../../lib/postgres/identifiers.ts";
import type { Login, SandboxState } from "../../../lib/sandbox/state.ts";
import { inlineSql, type Label } from "../runbook-text.ts";
import { entryOf } from "./document.ts";
import type { Drill } from "./drill.ts";
import { type OnCall, RunbookReader } from "./runbook-section.ts";

type Row = Readonly<Record<string, unknown>>;

/** A statement of a section that ends what its alarm tells of. */
interface Remedy {
  part: Label;
  /** The text in the runbook, with its place-holders. */
  statement: string;
  /** What the section's statements show, to what fills the place-holder: one run for each. */
  values(rows: readonly Row[]): readonly string[];
  /** Who may do it. */
  as(state: SandboxState): Login & { port?: number };
  /** Only when it is this fault that raised the alarm. */
  fault?: string;
  /** Rounds of looking and doing it again; default 1. */
  rounds?: number;
  /** Section in which it stands, where that is another one. */
  section?: string;
}

const placeHolder = /\bPID\b|'(?:NAME|GID)'|\bNAME\b/;

const terminate = "SELECT pg_terminate_backend(PID)";
const master = (state: SandboxState) => state.master;
/** On RDS nobody has a superuser's session; in the sandbox faults have, and only one of these may end it. */
const superuser = (state: SandboxState) => state.superuser;

const endRootBlockers: Remedy = {
  part: "Stop the bleeding",
  section: "blocked-sessions",
  statement: terminate,
  values: (rows) => {
    const waiting = new Set(rows.map(({ pid }) => pid));
    const waitedFor = rows.flatMap(({ waits_for }) => (waits_for ?? []) as number[]);
    return [...new Set(waitedFor)].filter((pid) => !waiting.has(pid)).map(String);
  },
  as: superuser,
  rounds: 5,
};

const dropInactiveSlot: Remedy = {
  part: "Stop the bleeding",
  section: "oldest-slot-lag",
  statement: "SELECT pg_drop_replication_slot('NAME')",
  values: (rows) =>
    rows.filter(({ active }) => active === false).map(({ slot_name }) => literal(String(slot_name))),
  // On RDS the master user has rds_replication; here it may not replicate.
  as: superuser,
};

/** What is done as the runbook says, before the fault's own repair. */
const remedies: Readonly<Record<string, Remedy>> = {
  "blocked-sessions": endRootBlockers,
  "long-lock-wait": endRootBlockers,
  "oldest-slot-lag": dropInactiveSlot,
  "inactive-slots": dropInactiveSlot,
  "idle-in-transaction": {
    part: "Stop the bleeding",
    statement: terminate,
    values: (rows) => pids(rows.filter(({ state }) => state === "idle in transaction")).slice(0, 1),
    as: master,
  },
  "long-queries": {
    part: "Stop the bleeding",
    statement: "SELECT pg_cancel_backend(PID)",
    values: (rows) => pids(rows).slice(0, 1),
    as: master,
  },
  "old-transaction": {
    part: "Stop the bleeding",
    statement: terminate,
    values: (rows) => pids(rows).slice(0, 1),
    as: master,
  },
  "prepared-transactions": {
    part: "Fix",
    statement: "ROLLBACK PREPARED 'GID'",
    values: (rows) => rows.flatMap(({ gid }) => (gid === undefined ? [] : [literal(String(gid))])),
    as: (state) => state.application.writer,
  },
  "invalid-indexes": {
    part: "Fix",
    statement: "DROP INDEX CONCURRENTLY NAME",
    values: (rows) =>
      rows
        .filter(({ indisunique }) => indisunique !== undefined)
        .map(({ index }) => String(index).split(".").map(identifier).join(".")),
    as: master,
  },
  "job-absent": {
    part: "Fix",
    statement: terminate,
    fault: "hang-job:check-recovery",
    values: (rows) => pids(rows.filter(({ backend_start }) => backend_start !== undefined)),
    as: master,
  },
  "replica-lag": {
    part: "Stop the bleeding",
    statement: "SELECT pg_wal_replay_resume()",
    fault: "pause-replay",
    values: () => [""],
    // A replica of one's own: on RDS the master user may do so.
    as: (state) => ({ ...state.superuser, port: state.replicas[0]?.port as number }),
  },
};

function pids(rows: readonly Row[]): string[] {
  return rows.flatMap(({ pid }) => (pid === undefined ? [] : [String(pid)]));
}

export interface Followed {
  /** Alarms that have to clear now, while the faults are not repaired. */
  alarms: string[];
  problems: string[];
}

/** Does what the sections of these alarms say, where one statement of them helps. */
export async function followSections(onCall: OnCall, drills: readonly Drill[]): Promise<Followed> {
  const followed: Followed = { alarms: [], problems: [] };
  for (const { alarm, fault } of drills) {
    const entry = entryOf(alarm).name;
    const remedy = remedies[entry];
    if (remedy === undefined || (remedy.fault !== undefined && remedy.fault !== fault)) continue;
    const done = await follow(onCall, entry, remedy);
    if (done > 0) followed.alarms.push(alarm);
    else
      followed.problems.push(`docs/runbook.md#${entry}: nothing is shown to fill ${remedy.statement} with`);
  }
  return followed;
}

async function follow(onCall: OnCall, entry: string, remedy: Remedy): Promise<number> {
  let done = 0;
  for (let round = 0; round < (remedy.rounds ?? 1); round++) {
    const reader = new RunbookReader(onCall);
    try {
      const text = reader.section(remedy.section ?? entry).parts[remedy.part];
      if (!inlineSql(text).includes(remedy.statement)) {
        throw new TypeError(`docs/runbook.md#${entry} does not say ${remedy.statement}`);
      }
      const values = remedy.values(await rowsOf(reader, remedy.section ?? entry));
      for (const value of values) await run(onCall, remedy, value);
      done += values.length;
      if (values.length === 0) break;
    } finally {
      await reader.close();
    }
  }
  return done;
}

/** What the statements of a section's blocks print. */
async function rowsOf(reader: RunbookReader, entry: string): Promise<Row[]> {
  const executed = await reader.runSection(entry);
  return executed
    .filter(({ line }) => line.startsWith("psql "))
    .flatMap(({ output }) => output.split("\n").filter((line) => line.startsWith("{")))
    .map((line) => JSON.parse(line) as Row);
}

async function run({ state }: OnCall, { statement, as }: Remedy, value: string): Promise<void> {
  const { host, port, database } = { host: "127.0.0.1", port: state.primary.port, database: state.database };
  const session = await connect({ host, port, database, ...as(state) });
  try {
    await session.query(statement.replace(placeHolder, () => value));
  } finally {
    await session.close();
  }
}
