import { qualified } from "../../postgres/identifiers.ts";
import { concludeReview, type ReviewCheck } from "../review-check.ts";
import { notOfExtension, userSchema } from "../user-objects.ts";

interface Untrusted {
  schema: string;
  name: string;
  arguments: string;
  language: string;
}

/** Functions in languages that are not held back by the database, and that everybody may call. */
export const untrustedLanguages: ReviewCheck = {
  name: "untrusted-languages",
  title: "Which functions reach outside the database for everybody?",
  area: "security",
  async run({ session }) {
    const rows = await session.query<Untrusted>(
      `select n.nspname::text as schema, p.proname::text as name, pg_get_function_identity_arguments(p.oid) as arguments,
              l.lanname::text as language
         from pg_proc p join pg_language l on l.oid = p.prolang join pg_namespace n on n.oid = p.pronamespace
        where not l.lanpltrusted and l.lanname <> 'internal' and p.prokind in ('f', 'p') and p.prorettype <> 'trigger'::regtype
          and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                       where a.grantee = 0 and a.privilege_type = 'EXECUTE')
          and ${userSchema()} and ${notOfExtension("p.oid", "pg_proc")}
        order by 1, 2, 3`,
    );
    return concludeReview({
      facts: { functions: rows.length },
      good: ["No function that reaches outside the database is open to everybody."],
      findings: rows.map(({ schema, name, arguments: types, language }) => {
        const signature = `${qualified(schema, name)}(${types})`;
        const up = `REVOKE EXECUTE ON FUNCTION ${signature} FROM PUBLIC;`;
        const down = `GRANT EXECUTE ON FUNCTION ${signature} TO PUBLIC;`;
        return {
          check: "untrusted-languages",
          key: `untrusted-languages/${schema}.${name}(${types})`,
          severity: "medium",
          confidence: "likely",
          object: { schema, name: `${name}(${types})` },
          title: `everybody may call ${signature}, which is written in ${language}`,
          evidence: { language, executableByEverybody: true },
          impact:
            "It runs as the account of the server, with its files and its network, for any login that calls it",
          blastRadius: "the machine, as far as its arguments reach",
          rootCause: "EXECUTE for PUBLIC is the default of new functions",
          prevention:
            "ALTER DEFAULT PRIVILEGES … REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC for roles that make such functions",
          effort: "minutes",
          remediation: {
            sql: `${up} -- after granting it to those who call it`,
            lock: "none",
            rollback: down,
          },
          fix: { up: [up], down: [down], proof: [`pg_language says that ${language} is not trusted`] },
        };
      }),
    });
  },
};
