import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadModule, parseSync } from "libpg-query";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { reviewChecks } from "../../lib/checks/review-checks.ts";
import { writeFixes } from "../../lib/cli/review-fixes.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { isUntouched, planFixes } from "../../lib/review/fixes.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { runChecks, schemaOf } from "../helpers/review.ts";
import { findingOf, reportOf, resultOf } from "../helpers/review-report.ts";

const fixed = (table: string, up: string[], down: string[] = [], proof: string[] = []) =>
  findingOf({ table, key: `c/${table}`, fix: { up, down, proof } });
const plan = (...findings: ReturnType<typeof fixed>[]) => planFixes(reportOf([resultOf("c", { findings })]));
/** What a migration tool would send, one after the other, by PostgreSQL's own parser. */
async function statementsOf(text: string): Promise<string[]> {
  await loadModule();
  const bytes = Buffer.from(text);
  return (parseSync(text).stmts ?? []).map(({ stmt_location = 0, stmt_len }) =>
    bytes.subarray(stmt_location, stmt_len === undefined ? undefined : stmt_location + stmt_len).toString(),
  );
}

describe("migrations from findings", () => {
  it("add before they validate, build indexes then, and drop last", () => {
    const migrations = plan(
      fixed("dropped", ["DROP INDEX CONCURRENTLY public.add_constraint;"]),
      fixed("column", ["ALTER TABLE public.t DROP COLUMN a;"]),
      fixed("set", ["ALTER TABLE public.t SET (autovacuum_enabled = true);"]),
      fixed("index", [`CREATE INDEX CONCURRENTLY "drop" ON public.t (a);`]),
      fixed("validated", ["ALTER TABLE public.t VALIDATE CONSTRAINT c;"]),
      fixed("both", [
        "ALTER TABLE public.t ADD CONSTRAINT d CHECK (a > 0) NOT VALID;",
        "ALTER TABLE public.t VALIDATE CONSTRAINT d;",
      ]),
      fixed("added", ["ALTER TABLE public.t ADD CONSTRAINT c CHECK (b <> 'drop column') NOT VALID;"]),
    );
    expect(migrations.map(({ up }) => up.name.replace(/-[0-9a-f]{8}\.up\.sql$/, ""))).toEqual([
      "10-constraint-c-added",
      "20-validate-c-both",
      "20-validate-c-validated",
      "30-index-c-index",
      "40-change-c-set",
      "50-drop-c-column",
      "50-drop-c-dropped",
    ]);
  });

  it("say why, prove it, set the lock timeout first, and mark what stands alone", () => {
    const [migration] = plan(
      fixed(
        "t",
        [
          "CREATE UNIQUE INDEX CONCURRENTLY i ON public.t (a);",
          "ALTER TABLE public.t ADD CONSTRAINT k UNIQUE USING INDEX i;",
        ],
        ["ALTER TABLE public.t DROP CONSTRAINT k;"],
        ["cost 1834.00 before, 8.29 after"],
      ),
    );
    expect(migration?.up.text.split("\n").slice(1)).toEqual([
      "-- public.t has no index for its foreign key (medium, certain)",
      "-- Key: c/t",
      "-- Database: shop, PostgreSQL 17.10",
      "-- Impact: Deleting a customer reads the whole table.",
      "-- Lock: SHARE UPDATE EXCLUSIVE",
      "-- Proof: cost 1834.00 before, 8.29 after",
      "-- NO TRANSACTION: PostgreSQL refuses some of this within one. Run each statement by itself, in this order.",
      "",
      "SET lock_timeout = '5s';",
      "",
      "-- Alone, outside a transaction:",
      "SET lock_timeout = 0; -- nobody queues behind it, and cut off it would leave an invalid index",
      "CREATE UNIQUE INDEX CONCURRENTLY i ON public.t (a);",
      "SET lock_timeout = '5s';",
      "",
      "ALTER TABLE public.t ADD CONSTRAINT k UNIQUE USING INDEX i;",
      "",
    ]);
    expect(migration?.down.text).toContain(
      "-- May run in one transaction.\n\nSET lock_timeout = '5s';\n\nALTER TABLE",
    );
  });

  it("have the same name each time, one for each key, and none for what is accepted or proposed twice", () => {
    const one = fixed("t", ["DROP INDEX CONCURRENTLY public.i;"]);
    const other = { ...one, key: "another/t" };
    const quiet = { ...fixed("q", ["SELECT 1;"]), suppressed: { reason: "known" } };
    expect(plan(one)).toEqual(plan({ ...one, title: one.title }, other, quiet));
    const names = plan(fixed("a b", ["SELECT 1;"]), fixed("a-b", ["SELECT 2;"])).map(({ up }) => up.name);
    expect(new Set(names).size).toBe(2);
  });

  it("keep any name in its comment", () => {
    const hostile = 'x"\n; drop table y; --\r\n*/ select 1; /* \u2028';
    const finding = {
      ...fixed("t", ["SELECT 1;"], [], [hostile]),
      title: hostile,
      key: `c/${hostile}`,
      impact: hostile,
    };
    finding.remediation = { ...finding.remediation, lock: hostile, rollback: hostile };
    const [migration] = plan(finding);
    for (const { name, text } of [migration?.up, migration?.down].filter((one) => one !== undefined)) {
      expect(name).toMatch(/^[\w.-]+$/);
      for (const line of text.split(/[\n\r\u2028]/))
        expect(line).toMatch(/^(?:--.*|SET lock_timeout.*|SELECT 1;|)$/);
    }
  });
});

describe("the files of migrations", () => {
  const directory = mkdtempSync(join(tmpdir(), "pgkeep-fixes-"));
  afterAll(() => rmSync(directory, { recursive: true }));

  it("replace their own, and nothing that somebody else has made or edited", async () => {
    const migrations = plan(fixed("one", ["SELECT 1;"]), fixed("two", ["SELECT 2;"]));
    await writeFixes(migrations, join(directory, "m"));
    await writeFixes(migrations, join(directory, "m"));
    const names = readdirSync(join(directory, "m"));
    expect(names).toHaveLength(4);
    const file = join(directory, "m", names[3] as string);
    expect(isUntouched(readFileSync(file, "utf8"))).toBe(true);
    writeFileSync(file, `${readFileSync(file, "utf8")}-- by hand\n`);
    await expect(writeFixes(migrations, join(directory, "m"))).rejects.toThrow(
      `${names[3]} would be replaced`,
    );
    expect(readFileSync(file, "utf8")).toMatch(/-- by hand\n$/);
  });
});

describe.each(allMajors.filter((major) => [14, 17, 18].includes(major)))(
  "migrations on PostgreSQL %i",
  (major) => {
    const server = useServer(major);
    let session: Session;
    beforeAll(async () => {
      session = await server.connect(await server.createDatabase());
      for (const statement of [
        'create schema "we""ird; --"',
        'create table "we""ird; --".parent (id int primary key)',
        'create table "we""ird; --"."ch\'ild" (id int primary key, "parent\nid" int, a int, b int)',
        'create index one on "we""ird; --"."ch\'ild" (a)',
        'create index two on "we""ird; --"."ch\'ild" (a)',
        'alter table "we""ird; --"."ch\'ild" add constraint "f;k" foreign key ("parent\nid") references "we""ird; --".parent not valid',
        'alter table "we""ird; --"."ch\'ild" add constraint positive check (b > 0) not valid',
        'insert into "we""ird; --".parent select generate_series(1, 1000)',
        'insert into "we""ird; --"."ch\'ild" select n, 1 + n % 1000, n, n from generate_series(1, 20000) n',
        "analyze",
      ]) {
        await session.query(statement);
      }
    });
    afterAll(() => session.close());

    it("mend what was found in their order, and take it back in the other", async () => {
      const catalog = reviewChecks.filter(({ area }) => area === "indexes" || area === "constraints");
      const before = await schemaOf(session);
      const report = await runChecks(catalog, session);
      const migrations = planFixes(report);
      expect(migrations.length).toBeGreaterThanOrEqual(3);
      for (const { up } of migrations) {
        for (const statement of await statementsOf(up.text)) await session.query(statement);
      }
      await session.query("reset lock_timeout");
      const keys = (await runChecks(catalog, session)).results.flatMap(({ findings }) =>
        findings.map(({ key }) => key),
      );
      for (const { key } of migrations) expect(keys).not.toContain(key);
      for (const { down } of migrations.toReversed()) {
        for (const statement of await statementsOf(down.text)) await session.query(statement);
      }
      expect(await schemaOf(session)).toEqual(before);
    });
  },
);
