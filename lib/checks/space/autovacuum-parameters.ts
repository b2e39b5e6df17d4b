import { qualified } from "../../postgres/identifiers.ts";
import { adviceFor } from "../../vacuum/advice.ts";
import { readAutovacuum } from "../../vacuum/autovacuum.ts";
import { bytesText } from "../../words.ts";
import { readTables } from "../indexes/tables.ts";
import { concludeReview, type ReviewCheck } from "../review-check.ts";
import { readHolders, readVacuumState } from "./vacuum-state.ts";

/** Below it the server's defaults are good enough, and statements of ten thousand tables would be read for nothing. */
const fewestRows = 100_000;
const mostTables = 1_000;

/** Storage parameters that large tables should have by their actual rates of change: the advice of pgkeep's vacuum. */
export const autovacuumParameters: ReviewCheck = {
  name: "autovacuum-parameters",
  title: "Which tables need autovacuum parameters of their own?",
  area: "space",
  needs: { primary: true },
  async run(context) {
    const { facts } = await readVacuumState(context);
    if (!facts.settings.countsTracked) {
      return concludeReview({
        obstacle:
          "changes are not counted: ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf(); (on a managed server, in its parameter group)",
      });
    }
    const tables = await readTables(context);
    const large = tables.all
      .filter(({ kind, rows }) => kind !== "p" && rows >= fewestRows)
      .sort((a, b) => b.rows - a.rows)
      .slice(0, mostTables);
    const states =
      large.length === 0
        ? []
        : await readAutovacuum(context.session, facts, { oids: large.map(({ oid }) => oid) });
    // Where autovacuum is off is a check of its own (tables-without-autovacuum).
    const advice = adviceFor(
      states.filter((state) => state.autovacuumIsOn && state.partition !== true),
      await readHolders(context),
      context.now.getTime(),
    );
    return concludeReview({
      findings: advice.map((one) => {
        const name = qualified(one.schema, one.table);
        const toast = one.toast === true;
        const state = states.find(
          (other) =>
            other.schema === one.schema && other.table === one.table && (other.toast === true) === toast,
        );
        const statement = (sql: string) => (sql.trimEnd().endsWith(";") ? sql : `${sql};`);
        const up = one.sql.map(statement);
        const down = one.rollback.map(statement);
        return {
          check: "autovacuum-parameters",
          key: `autovacuum-parameters/${one.schema}.${one.table}${toast ? "/toast" : ""}`,
          severity: "low" as const,
          confidence: "likely" as const,
          object: { schema: one.schema, table: one.table },
          title: `the server's autovacuum settings do not suit ${toast ? "the TOAST table of " : ""}${name}`,
          evidence: {
            why: one.why,
            rows: Math.round(state?.rows ?? 0),
            size: bytesText(state?.bytes ?? 0),
            deadRows: state?.deadRows ?? null,
            parameters: state?.parameters ?? [],
          },
          impact:
            "Vacuums come late and take long, and until then scans read dead rows and plans go by old numbers.",
          blastRadius: `statements on ${name}`,
          rootCause: "The defaults wait for a share of the table, which of a large one is many rows.",
          prevention: "Look at this list when a table passes a million rows.",
          effort: "minutes" as const,
          remediation: { sql: up.join("\n"), lock: one.lock, rollback: down.join("\n") },
          fix: { up, down, proof: one.why },
        };
      }),
      facts: { largeTables: large.length },
      good: large.length === 0 ? [] : ["Autovacuum's settings suit the large tables."],
    });
  },
};
