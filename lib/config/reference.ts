import type { z } from "zod";
import { allowed, defaultOf, descriptionOf, shapeOf } from "./describe.ts";
import { rules } from "./rules/index.ts";
import { perDatabaseSections, sharedSections } from "./schema.ts";

/** What brings the generated files up to date. */
export const generateCommand = "node --import tsx scripts/generate-configuration-docs.ts";

interface Setting {
  path: string;
  allowed: string;
  default: string;
  description: string;
}

/** Every setting of a section, in the order of the schema. */
function settings(schema: z.core.$ZodType, path: string): Setting[] {
  const shape = shapeOf(schema);
  if (shape !== undefined) {
    return Object.entries(shape).flatMap(([key, inner]) => settings(inner, `${path}.${key}`));
  }
  const value = defaultOf(schema);
  return [
    {
      path,
      allowed: allowed(schema),
      default: value === undefined ? "" : code(typeof value === "string" ? value : JSON.stringify(value)),
      description: descriptionOf(schema),
    },
  ];
}

/** The text of docs/configuration.md: every setting and every rule, from the schema and the rules themselves. */
export function renderConfigurationReference(): string {
  return [
    `<!-- Generated from lib/config. Do not edit; run: ${generateCommand} -->`,
    "",
    "# Configuration",
    "",
    "pgkeep reads `pgkeep.yaml` in the working directory, or the file given with `--config`. Without a file the",
    "defaults below stand. `pgkeep config check` lists every problem of a file at once, `pgkeep config show` prints",
    "what is in effect, `pgkeep config schema` the JSON Schema for editors (also in `docs/pgkeep.schema.json`).",
    "",
    "A file for one database has the sections at the top. For several, `databases` names each and says what is",
    "different; the sections at the top are then the defaults of all:",
    "",
    "```yaml",
    "backups:",
    "  keepMonthly: 6",
    "databases:",
    "  shop:",
    "    database: { storageGigabytes: 400, maxStorageGigabytes: 2000 }",
    "  crm:",
    "    backups: { keepDaily: 14 }",
    "```",
    "",
    "Mappings are joined, lists are replaced. A database is named after its key unless `database.name` says",
    "otherwise. Editors that know the YAML language server complete and check the file with this first line:",
    "",
    "```yaml",
    "# yaml-language-server: $schema=docs/pgkeep.schema.json",
    "```",
    "",
    "## Sections of each database",
    ...sections(perDatabaseSections),
    "",
    "## Sections of the file",
    "",
    "These stand once, at the top.",
    ...sections(sharedSections),
    "",
    "## Rules across settings",
    "",
    ...table(
      ["rule", "what must hold", "source"],
      rules.map((rule) => [code(rule.name), rule.demand, rule.source]),
    ),
    "",
  ].join("\n");
}

function sections(all: Readonly<Record<string, z.ZodType>>): string[] {
  return Object.entries(all).flatMap(([name, schema]) => [
    "",
    `### ${name}`,
    "",
    `${descriptionOf(schema)}.`,
    "",
    ...table(
      ["setting", "allowed", "default", "meaning"],
      settings(schema, name).map((setting) => [
        code(setting.path),
        setting.allowed,
        setting.default,
        setting.description,
      ]),
    ),
  ]);
}

export function code(text: string): string {
  return `\`${text}\``;
}

/** A table whose columns are as wide as their widest cell, as the project's formatter lays it out. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const cells = [head, ...rows].map((row) => row.map(escaped));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const [first = [], ...others] = cells;
  return [line(first), line(widths.map((width) => "-".repeat(width))), ...others.map(line)];
}

/** Outside code, what Markdown would take for markup is escaped. */
function escaped(cell: string): string {
  return cell
    .split("`")
    .map((part, index) => (index % 2 === 0 ? part.replaceAll("<", "&lt;").replaceAll("*", "\\*") : part))
    .join("`")
    .replaceAll("|", "\\|");
}
