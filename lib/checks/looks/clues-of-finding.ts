import type { Evidence, LookName } from "../../alarms/page/look.ts";
import type { Json } from "../../json.ts";
import { countText } from "../../words.ts";
import type { Finding } from "../check.ts";
import { type Clue, rankOf } from "./short-look.ts";

type Fields = { [key: string]: Json };

/** Roles that one sentence lists. */
const shownRoles = 5;

/** A health check's finding as a page tells it: who, since when, doing what. */
export function clueOf(from: LookName, finding: Finding): Clue {
  const evidence = evidenceOf(finding);
  const hurts = hurtsOf(finding);
  return {
    from,
    // A leak explains the connections that are used up.
    rank: finding.key.startsWith("connections/leak/") ? 0 : rankOf(finding.severity),
    text: textOf(finding),
    ...(hurts === undefined ? {} : { hurts }),
    evidence,
  };
}

function textOf(finding: Finding): string {
  const largest = list(finding.evidence.largestGroups)[0];
  if (largest === undefined) return finding.title;
  return `${finding.title}; most: ${who(largest)}: ${text(largest.sessions)} ${text(largest.state)}`;
}

function evidenceOf({ check, object, evidence }: Finding): Evidence {
  if (check === "blocked-sessions") return rootEvidence(evidence);
  if (check === "idle-in-transaction" || check === "long-running-queries") return sessionEvidence(evidence);
  const largest = list(evidence.largestGroups)[0];
  const { role: _role, owner: _owner, ...others } = evidence;
  return scalars({
    ...(object.schema === undefined ? {} : { schema: object.schema }),
    ...(object.table === undefined ? {} : { table: object.table }),
    ...(object.index === undefined ? {} : { index: object.index }),
    ...(object.role === undefined ? {} : { user: object.role }),
    ...(object.name === undefined ? {} : { [nameField(check)]: object.name }),
    ...(largest === undefined
      ? {}
      : {
          user: largest.role ?? null,
          application: largest.application ?? null,
          state: largest.state ?? null,
        }),
    ...others,
  });
}

function nameField(check: string): string {
  if (check === "replication-slots") return "slot";
  if (check === "prepared-transactions") return "gid";
  return check === "connections" ? "application" : "name";
}

function rootEvidence(evidence: Fields): Evidence {
  const root = fields(evidence.root);
  const prepared = list(root.prepared)[0];
  const waiting = list(evidence.waiting)[0];
  const held = {
    sessionsHeldUp: evidence.sessionsHeldUp ?? null,
    longestWaitSeconds: evidence.longestWaitSeconds ?? null,
    waitingFor: waiting === undefined ? null : [waiting.lock, waiting.relation].filter(Boolean).join(" on "),
    waitingStatement: waiting?.statement ?? null,
  };
  if (prepared !== undefined) {
    const { gid, owner, database, ageSeconds } = prepared;
    return scalars({ gid, user: owner, database, ageSeconds, ...held } as Fields);
  }
  const { pid, ...session } = sessionFields(root);
  return scalars({ rootPid: pid ?? null, ...session, ...held });
}

function sessionEvidence(evidence: Fields): Evidence {
  return scalars(sessionFields(evidence));
}

/** The age is the transaction's: locks and horizon are as old as that. */
function sessionFields(backend: Fields): Fields {
  return {
    pid: backend.pid ?? null,
    user: backend.role ?? null,
    application: backend.application ?? null,
    client: backend.client ?? null,
    state: backend.state ?? null,
    ageSeconds: backend.transactionSeconds ?? backend.statementSeconds ?? backend.stateSeconds ?? null,
    waitEvent: backend.waitEvent ?? null,
    statement: backend.statement ?? null,
  };
}

function hurtsOf({ check, evidence }: Finding): string | undefined {
  if (check !== "blocked-sessions") return undefined;
  const roles = [
    ...new Set(list(evidence.waiting).flatMap(({ role }) => (role == null ? [] : [text(role)]))),
  ];
  const sessions = countText(Number(evidence.sessionsHeldUp), "session");
  return roles.length === 0 ? sessions : `${sessions} of ${roles.slice(0, shownRoles).join(", ")}`;
}

function who(group: Fields): string {
  const client = group.client == null ? "" : ` from ${text(group.client)}`;
  return `${JSON.stringify(text(group.role))} (${JSON.stringify(text(group.application))}${client})`;
}

/** Numbers, texts and truths; what is unknown, empty or a list is left out. */
export function scalars(values: { [key: string]: Json | undefined }): Evidence {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      value === null || value === undefined || value === "" || typeof value === "object"
        ? []
        : [[name, value]],
    ),
  );
}

const fields = (value: Json | undefined): Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
const list = (value: Json | undefined): Fields[] => (Array.isArray(value) ? value.map(fields) : []);
const text = (value: Json | undefined): string => String(value ?? "");
