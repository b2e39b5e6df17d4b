import { qualified } from "../../postgres/identifiers.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

interface Guarded {
  schema: string;
  table: string;
  enabled: boolean;
  forced: boolean;
  policies: number;
  open: string[];
  owner: string;
  ownerSessions: number;
}

interface SeeingView {
  schema: string;
  view: string;
  owner: string;
  tables: string[];
}

/** USING (true) as the catalog stores it. Having it written out would wait for locks on the table. */
const constantTrue = "^\\{CONST :consttype 16 .*:constisnull false .*:constvalue 1 \\[ 1 ";

/** Row security that is written and does not hold. */
export const rowSecurity: ReviewCheck = {
  name: "row-security",
  title: "Where does row security not hold?",
  area: "security",
  async run({ session }) {
    const tables = await session.query<Guarded>(
      `select n.nspname::text as schema, c.relname::text as table, c.relrowsecurity as enabled,
              c.relforcerowsecurity as forced, count(p.oid)::int as policies, o.rolname::text as owner,
              coalesce(array_agg(p.polname::text order by p.polname)
                filter (where p.polpermissive and p.polcmd in ('*', 'w', 'd') and 0 = any (p.polroles)
                          and p.polqual::text ~ '${constantTrue}'), '{}') as open,
              (select count(*)::int from pg_stat_activity a where a.usesysid = c.relowner and a.datname = current_database()
                  and a.pid <> pg_backend_pid()) as "ownerSessions"
         from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles o on o.oid = c.relowner
         left join pg_policy p on p.polrelid = c.oid
        where c.relkind in ('r', 'p') and ${userRelation()}
        group by c.oid, n.nspname, c.relname, c.relrowsecurity, c.relforcerowsecurity, o.rolname
       having c.relrowsecurity or count(p.oid) > 0
        order by 1, 2`,
    );
    const views = await session.query<SeeingView>(
      `select n.nspname::text as schema, c.relname::text as view, o.rolname::text as owner,
              array_agg(distinct tn.nspname::text || '.' || t.relname::text) as tables
         from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles o on o.oid = c.relowner
         join pg_rewrite w on w.ev_class = c.oid
         join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
         join pg_class t on t.oid = d.refobjid and t.relrowsecurity
         join pg_namespace tn on tn.oid = t.relnamespace
        where c.relkind = 'v' and ${userRelation()}
          and not coalesce((select option_value::bool from pg_options_to_table(c.reloptions) where option_name = 'security_invoker'), false)
          and (o.rolsuper or o.rolbypassrls or t.relowner = c.relowner and not t.relforcerowsecurity)
          and exists (select from aclexplode(c.relacl) a where a.grantee <> c.relowner)
        group by c.oid, n.nspname, c.relname, o.rolname order by 1, 2`,
    );
    return concludeReview({
      findings: [
        ...tables.flatMap(judge),
        ...views.map((view) => viewFinding(view, session.serverVersionNumber)),
      ],
      facts: { tablesWithRowSecurity: tables.filter(({ enabled }) => enabled).length },
      good: tables.length === 0 ? [] : ["Row security that is written holds, through views too."],
    });
  },
};

function judge(one: Guarded): ReviewFinding[] {
  const { schema, table, enabled, forced, policies, open, owner, ownerSessions } = one;
  const name = qualified(schema, table);
  const base = {
    check: "row-security",
    object: { schema, table },
    confidence: "certain",
    blastRadius: `the rows of ${name}`,
    effort: "hours",
  } as const;
  const alter = (what: string) => `ALTER TABLE ${name} ${what};`;
  const lock = "ACCESS EXCLUSIVE on the table for a moment";
  if (!enabled) {
    const [up, down] = [alter("ENABLE ROW LEVEL SECURITY"), alter("DISABLE ROW LEVEL SECURITY")];
    return [
      {
        ...base,
        key: `row-security/${schema}.${table}/disabled`,
        severity: "high",
        title: `${name} has ${policies} policies, and row security is off`,
        evidence: { policies, enabled },
        impact:
          "Every login with a right on the table sees and changes all of its rows, as if there were no policies",
        rootCause: "CREATE POLICY does not switch row security on",
        prevention:
          "write ALTER TABLE … ENABLE ROW LEVEL SECURITY beside the first policy, and test as the login that it is meant for",
        remediation: { sql: up, lock, rollback: down },
        fix: {
          up: [up],
          down: [down],
          proof: ["pg_policy has policies of the table, pg_class.relrowsecurity is false"],
        },
      },
    ];
  }
  const findings: ReviewFinding[] = [];
  if (ownerSessions > 0 && !forced && policies > 0) {
    const [up, down] = [alter("FORCE ROW LEVEL SECURITY"), alter("NO FORCE ROW LEVEL SECURITY")];
    findings.push({
      ...base,
      key: `row-security/${schema}.${table}/owner`,
      severity: "medium",
      confidence: "suspected",
      title: `the owner of ${name} is logged in, and its policies do not hold for owners`,
      evidence: { owner, sessionsOfTheOwner: ownerSessions, forced },
      impact: `Sessions of ${owner} see and change all rows: when the application logs in so, the policies protect nothing`,
      rootCause: "the application logs in as the owner of its tables",
      prevention: "let applications log in as a role that owns nothing",
      remediation: { sql: up, lock, rollback: down },
    });
  }
  if (open.length > 0) {
    findings.push({
      ...base,
      key: `row-security/${schema}.${table}/open`,
      severity: "medium",
      confidence: "likely",
      title: `policies of ${name} let everybody change every row`,
      evidence: { policies: open },
      impact: "Row security is on, and each login with a right on the table changes and deletes all rows",
      rootCause: "USING (true) for everybody, written to make something work",
      prevention: "name the role and the condition in each policy that allows writing",
      remediation: {
        sql: `-- Give each of these policies a role and a condition: ALTER POLICY … ON ${name} TO … USING (…);`,
        lock: "ACCESS EXCLUSIVE on the table for a moment",
        rollback: "the former condition again",
      },
    });
  }
  return findings;
}

function viewFinding({ schema, view, owner, tables }: SeeingView, version: number): ReviewFinding {
  const name = qualified(schema, view);
  const may = version >= 150_000;
  const up = `ALTER VIEW ${name} SET (security_invoker = true);`;
  const down = `ALTER VIEW ${name} RESET (security_invoker);`;
  return {
    check: "row-security",
    key: `row-security/${schema}.${view}/view`,
    severity: "medium",
    confidence: "likely",
    object: { schema, table: view },
    title: `the view ${name} shows rows that row security hides`,
    evidence: { owner, tables },
    impact: `It reads ${tables.join(", ")} with the rights of ${owner}, for whom the policies do not hold, and shows the rows to whoever may read the view`,
    blastRadius: `the rows of ${tables.join(", ")}`,
    rootCause: "a view reads with its owner's rights",
    prevention: "make views over guarded tables with security_invoker (15 and later)",
    effort: "minutes",
    remediation: may
      ? { sql: up, lock: "ACCESS EXCLUSIVE on the view for a moment", rollback: down }
      : {
          sql: `-- Let a role own it for which the policies hold: ALTER VIEW ${name} OWNER TO …;`,
          lock: "ACCESS EXCLUSIVE on the view for a moment",
          rollback: "the former owner again",
        },
    ...(may
      ? {
          fix: {
            up: [up],
            down: [down],
            proof: [
              "the view's owner is above the policies of these tables; callers need rights on the tables then",
            ],
          },
        }
      : {}),
  };
}
