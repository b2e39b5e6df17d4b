import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lookedAtChecks } from "../../../lib/alarms/page/look.ts";
import type { HealthReport } from "../../../lib/checks/health.ts";
import type { DatabaseConfig } from "../../../lib/config/schema.ts";
import { PgkeepError } from "../../../lib/errors.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { connect } from "../../../lib/postgres/connect.ts";
import type { Login, SandboxState } from "../../../lib/sandbox/state.ts";
import { runCli, urlOf } from "../../helpers/cli.ts";
import { onlyLooks, type RunbookCommand, type RunbookSection, readRunbook } from "../runbook-text.ts";
import { entryOf } from "./document.ts";
import type { Drill } from "./drill.ts";
import { alwaysShown, finds, mayFail, type Surroundings, shownElsewhere, shows } from "./runbook-expected.ts";

/** What somebody on call has: a sandbox to find, and a configuration. */
export interface OnCall extends Surroundings {
  state: SandboxState;
  /** In which the sandbox is announced. */
  homeDirectory: string;
  /** With the limits as they are drilled. */
  config: DatabaseConfig;
}

export interface Executed {
  line: string;
  /** Of pgkeep; of SQL 0, and 3 when the database cannot be reached. */
  code: number;
  output: string;
  milliseconds: number;
}

/** Nobody waits longer for an answer at night. */
const atMostMilliseconds = 10_000;

/** Runs commands of the runbook as its reader would, each once. */
export class RunbookReader {
  readonly #runbook = readRunbook();
  readonly #onCall: OnCall;
  readonly #executed = new Map<string, Promise<Executed>>();
  readonly #directory: Promise<string>;

  constructor(onCall: OnCall) {
    this.#onCall = onCall;
    this.#directory = directoryWith(onCall.config);
  }

  section(entry: string): RunbookSection {
    const section = this.#runbook.get(entry);
    if (section === undefined) throw new TypeError(`docs/runbook.md has no section ${entry}`);
    return section;
  }

  /** Every command of the blocks of a section that can run here, one after the other. */
  async runSection(entry: string): Promise<Executed[]> {
    const executed: Executed[] = [];
    for (const command of this.section(entry).commands) {
      if (command.kind !== "elsewhere") executed.push(await this.#once(command));
    }
    return executed;
  }

  /** Health checks that have findings now; none when the database cannot be asked. */
  async findings(): Promise<string[]> {
    const line = "npx pgkeep health --json";
    const { code, output } = await this.#once({ kind: "pgkeep", line, args: ["health", "--json"] });
    if (code === 3) return [];
    const { results } = JSON.parse(output) as HealthReport;
    return results.filter(({ verdict }) => verdict === "findings").map(({ check }) => check);
  }

  async close(): Promise<void> {
    await rm(await this.#directory, { recursive: true, force: true });
  }

  #once(command: Exclude<RunbookCommand, { kind: "elsewhere" }>): Promise<Executed> {
    const known = this.#executed.get(command.line);
    if (known !== undefined) return known;
    const running = timed(command.line, () =>
      command.kind === "sql" ? this.#sql(command.sql) : this.#pgkeep(command.args),
    );
    this.#executed.set(command.line, running);
    return running;
  }

  async #pgkeep(args: readonly string[]): Promise<Pick<Executed, "code" | "output">> {
    if (!onlyLooks(args)) throw new TypeError(`a command that changes something: pgkeep ${args.join(" ")}`);
    const { homeDirectory } = this.#onCall;
    const given = args.map((word) => this.#filledIn(word));
    const workingDirectory = await this.#directory;
    const { code, stdout, stderr } = await runCli(given, { homeDirectory, workingDirectory });
    return { code, output: args.includes("--json") ? stdout : stdout + stderr };
  }

  async #sql(sql: string): Promise<Pick<Executed, "code" | "output">> {
    let session: Session;
    try {
      session = await connect(this.#as(this.#onCall.state.roles.monitoring));
    } catch (error) {
      if (!(error instanceof PgkeepError)) throw error;
      return { code: 3, output: error.message };
    }
    try {
      await session.query("begin read only");
      const rows = await session.query(sql);
      return { code: 0, output: rows.map((row) => JSON.stringify(row)).join("\n") };
    } finally {
      await session.close();
    }
  }

  #as(login: Login) {
    const { primary, database } = this.#onCall.state;
    return { host: "127.0.0.1", port: primary.port, database, ...login };
  }

  /** The variables of the runbook's beginning. */
  #filledIn(word: string): string {
    const { roles, master } = this.#onCall.state;
    const urlAs = (login: Login) => `${urlOf(this.#as(login))}?sslmode=disable`;
    return word.replaceAll("$URL", urlAs(roles.monitoring)).replaceAll("$ADMIN_URL", urlAs(master));
  }
}

/**
 * Reads the sections of what is broken now as somebody would who was just told, runs their commands, and tells what
 * is wrong with them: they fail, take long, or do not show the fault.
 */
export async function readSections(onCall: OnCall, drills: readonly Drill[]): Promise<string[]> {
  const reader = new RunbookReader(onCall);
  try {
    const problems: string[] = [];
    for (const entry of new Set(drills.map(({ alarm }) => entryOf(alarm).name))) {
      problems.push(...(await problemsOf(reader, entry, onCall)));
    }
    return problems;
  } finally {
    await reader.close();
  }
}

/**
 * The entries whose commands show the fault. Without it there must be none: what is always shown says nothing.
 * Where they are shown elsewhere is not asked.
 */
export async function shownEntries(onCall: OnCall, drills: readonly Drill[]): Promise<string[]> {
  const reader = new RunbookReader(onCall);
  try {
    const shown: string[] = [];
    for (const entry of new Set(drills.map(({ alarm }) => entryOf(alarm).name))) {
      const isThere = shownElsewhere[entry] === undefined && alwaysShown[entry] === undefined;
      if (isThere && (await whyNotShown(reader, entry, onCall)) === undefined) shown.push(entry);
    }
    return shown;
  } finally {
    await reader.close();
  }
}

async function problemsOf(
  reader: RunbookReader,
  entry: string,
  surroundings: Surroundings,
): Promise<string[]> {
  const executed = await reader.runSection(entry);
  const why =
    shownElsewhere[entry] === undefined ? await whyNotShown(reader, entry, surroundings) : undefined;
  const problems = [
    ...executed.flatMap((one) => failureOf(one, entry)),
    ...(executed.length === 0 ? ["no command of its section can run here"] : []),
    ...(why === undefined ? [] : [why]),
  ];
  return problems.map((problem) => `docs/runbook.md#${entry}: ${problem}`);
}

async function whyNotShown(
  reader: RunbookReader,
  entry: string,
  surroundings: Surroundings,
): Promise<string | undefined> {
  const expected = shows[entry];
  if (expected === undefined) {
    const check = checkOf(entry);
    const found = await reader.findings();
    if (check !== undefined && found.includes(check)) return undefined;
    return `the check ${check ?? "that there is none of"} finds nothing, only ${found.join(", ") || "none"}`;
  }
  const executed = await reader.runSection(entry);
  const output = executed.map((one) => `$ ${one.line}\n${one.output}`).join("\n");
  const isShown = expected instanceof RegExp ? expected.test(output) : expected(output, surroundings);
  return isShown ? undefined : `what is printed does not show it (${expected}):\n${output}`;
}

/** The health check in which somebody would look first for the cause. */
export function checkOf(entry: string): string | undefined {
  return finds[entry] ?? entryOf(entry).look.find((look) => lookedAtChecks.some((check) => check === look));
}

function failureOf({ line, code, output, milliseconds }: Executed, entry: string): string[] {
  const allowed = mayFail.has(entry) ? [0, 1, 3] : [0, 1];
  return [
    ...(allowed.includes(code) ? [] : [`${line} ends with ${code}: ${output}`]),
    ...(/"code": "internal"|fault of pgkeep/.test(output) ? [`${line} fails by itself: ${output}`] : []),
    ...(milliseconds <= atMostMilliseconds ? [] : [`${line} takes ${Math.round(milliseconds)} ms`]),
  ];
}

async function timed(line: string, run: () => Promise<Pick<Executed, "code" | "output">>): Promise<Executed> {
  const began = performance.now();
  try {
    const result = await run();
    return { line, ...result, milliseconds: performance.now() - began };
  } catch (error) {
    throw new Error(`${line}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** A directory with the configuration as a file; what the rules of a file refuse is as it would be by default. */
async function directoryWith({ key, ...config }: DatabaseConfig): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "pgkeep-runbook-"));
  const { health, replicas } = config;
  const database = {
    ...config,
    replicas: { count: replicas.count },
    health: {
      ...health,
      longQueryWarnSeconds: Math.min(health.longQueryWarnSeconds, health.longQueryTicketSeconds),
    },
  };
  // YAML has JSON in it.
  await writeFile(join(directory, "pgkeep.yaml"), JSON.stringify({ databases: { [key]: database } }));
  return directory;
}
