import { shown } from "../problems.ts";
import type { DatabaseConfig } from "../schema.ts";
import { identifierBytes } from "../sections/forms.ts";
import { databaseRule, error, type Rule, type RuleFinding, warning } from "./rule.ts";

/** What the names of a database's roles end with, after `<prefix>_`. */
export const roleSuffixes = ["owner", "reader", "writer", "app", "reporting", "migrations"] as const;

const longestSuffixBytes = Math.max(...roleSuffixes.map((suffix) => Buffer.byteLength(`_${suffix}`)));

/** What the names of a database's roles begin with. */
export function rolePrefix(database: DatabaseConfig): string {
  return database.roles.prefix ?? database.database.name;
}

function prefixPath({ roles }: DatabaseConfig): string {
  return roles.prefix === undefined ? "database.name" : "roles.prefix";
}

export const nameRules: Rule[] = [
  databaseRule({
    name: "role-names-fit",
    demand: `the names of the roles, \`<prefix>_migrations\` the longest, fit into ${identifierBytes} bytes (a warning when the prefix is the database's name, which is then cut and gets a digest)`,
    source: "PostgreSQL, Identifiers and Key Words: NAMEDATALEN − 1 bytes, the rest is cut off",
    check: (database) => {
      const most = identifierBytes - longestSuffixBytes;
      const bytes = Buffer.byteLength(rolePrefix(database));
      if (bytes <= most) return [];
      return [
        database.roles.prefix === undefined
          ? warning(
              "database.name",
              `is ${bytes} bytes long, so the names of its roles are cut and get a digest; set roles.prefix, at most ${most} bytes, to choose them`,
              ["roles.prefix"],
            )
          : error(
              "roles.prefix",
              `is ${bytes} bytes long; at most ${most}, so that the names of the roles fit`,
            ),
      ];
    },
  }),
  databaseRule({
    name: "role-names-free",
    demand:
      "the names of the roles do not begin with `pg_`; nor, as a warning, as those of pgkeep or RDS do (`pgkeep_`, `rds_`)",
    source: "PostgreSQL, CREATE ROLE: names that begin with pg_ are reserved for the server",
    check: (database) => {
      const prefix = rolePrefix(database);
      const path = prefixPath(database);
      const others = ["roles.prefix", "database.name"];
      if (`${prefix}_`.startsWith("pg_")) {
        return [
          error(
            path,
            `${shown(prefix)} cannot begin the names of roles, because PostgreSQL reserves pg_; set another roles.prefix`,
            others,
          ),
        ];
      }
      return /^(?:pgkeep|rds)(?:_|$)/.test(prefix)
        ? [
            warning(
              path,
              `${shown(prefix)} begins the names of roles that are easily taken for those of pgkeep or RDS; set another roles.prefix`,
              others,
            ),
          ]
        : [];
    },
  }),
  databaseRule({
    name: "database-name-free",
    demand: "`database.name` is not one of the server's own databases, and RDS can create it",
    source:
      "Amazon RDS API, CreateDBInstance, DBName: a letter, then letters, digits and underscores; rdsadmin, template0 and template1 exist on each server",
    check: ({ database: { name } }) => {
      if (["rdsadmin", "template0", "template1"].includes(name)) {
        return [error("database.name", `${name} is a database of the server itself; choose another`)];
      }
      return /^[A-Za-z]\w*$/.test(name)
        ? []
        : [
            warning(
              "database.name",
              `${shown(name)} can be used by URL, but RDS creates only names of a letter, then letters, digits and underscores`,
            ),
          ];
    },
  }),
  {
    name: "databases-told-apart",
    demand: "no two databases share the prefix of their roles",
    source:
      "roles belong to the whole server: on a shared one, each would hold the rights of both; on servers of their own it is only confusing",
    check: ({ config }) => {
      const owners = new Map<string, DatabaseConfig>();
      return config.databases.flatMap((database): RuleFinding[] => {
        const prefix = rolePrefix(database);
        const first = owners.get(prefix);
        if (first === undefined) {
          owners.set(prefix, database);
          return [];
        }
        return [
          {
            ...warning(
              prefixPath(database),
              `${shown(prefix)} also begins the roles of ${first.key}; fine on servers of their own, but on one server both would share their roles (set roles.prefix)`,
            ),
            database: database.key,
          },
        ];
      });
    },
  },
];
