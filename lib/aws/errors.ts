import { type ErrorCode, errorMessage, PgkeepError } from "../errors.ts";

/** True when AWS answered with one of these error names; with or without the SDK's suffix `Fault`. */
export function isNamed(error: unknown, ...names: string[]): boolean {
  if (!(error instanceof Error)) return false;
  const bare = (name: string) => name.replace(/(?:Fault|Exception)$/, "");
  return names.some((name) => bare(name) === bare(error.name));
}

interface Translation {
  matches: RegExp;
  code: ErrorCode;
  remedy: string;
}

const translations: Translation[] = [
  {
    matches: /^(AccessDenied|UnauthorizedOperation|AuthorizationError|NotAuthorized)/,
    code: "insufficient-privilege",
    remedy: "let the identity that pgkeep runs as make this call, or run it as one that may",
  },
  {
    matches:
      /(ExpiredToken|InvalidClientTokenId|SignatureDoesNotMatch|InvalidSignature|IncompleteSignature|MissingAuthentication|UnrecognizedClient|CredentialsProviderError|TokenProviderError)/,
    code: "authentication",
    remedy: "log in to AWS again (`aws sso login`), or set AWS_PROFILE",
  },
  {
    matches: /(Throttl|TooManyRequests|RequestLimitExceeded|TooManyUpdates|SlowDown|PriorRequestNotComplete)/,
    code: "timeout",
    remedy: "run it again later; something in this account calls AWS very often",
  },
  {
    matches: /(QuotaExceeded|LimitExceeded|ParameterLimit)/,
    code: "refused",
    remedy:
      "raise the quota in Service Quotas, or keep fewer backups (backups.keepDaily, keepWeekly, keepMonthly)",
  },
  {
    matches: /^Invalid(DBInstance|DBCluster)State/,
    code: "refused",
    remedy: "run it again when the database's status is available",
  },
  {
    matches: /(NotFound|NoSuch)/,
    code: "not-found",
    remedy: "check the name, the region and the account",
  },
  {
    matches:
      /(TimeoutError|ECONN|ENOTFOUND|EAI_AGAIN|NetworkingError|ServiceUnavailable|InternalFailure|InternalServer)/,
    code: "unreachable",
    remedy: "check the network, the name of the region and AWS's health dashboard, then run it again",
  },
];

/**
 * What AWS (or the way to it) answered, as an error of pgkeep. `doing` completes the sentence
 * "could not …", naming the object.
 */
export function awsError(error: unknown, doing: string): PgkeepError {
  if (error instanceof PgkeepError) return error;
  const name = error instanceof Error ? error.name : "";
  const code = (error as { code?: unknown } | undefined)?.code;
  const known = translations.find(
    ({ matches }) => matches.test(name) || (typeof code === "string" && matches.test(code)),
  );
  return new PgkeepError(known?.code ?? "internal", `could not ${doing}: ${name}: ${errorMessage(error)}`, {
    ...(known === undefined ? {} : { remedy: known.remedy }),
    cause: error,
  });
}

/** Makes a call and translates what goes wrong. */
export async function calling<T>(doing: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw awsError(error, doing);
  }
}
