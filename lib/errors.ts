/** What went wrong, as a stable word that scripts and tests can compare. */
export type ErrorCode =
  | "usage"
  | "configuration"
  | "unreachable"
  | "authentication"
  | "unsupported-server"
  | "insufficient-privilege"
  | "read-only"
  | "newer-schema"
  | "not-installed"
  | "not-found"
  | "no-sandbox"
  | "refused"
  | "timeout"
  | "deadline"
  | "start-failed"
  | "backup-invalid"
  | "restore-failed"
  | "statement-failed"
  | "internal";

export interface ErrorDetails {
  /** What the user can do about it: one imperative sentence, with the command or setting to use. */
  remedy?: string;
  cause?: unknown;
}

/**
 * Every error that pgkeep raises on purpose. `message` says what happened and to which object;
 * `remedy` says what to do. Neither ever contains a password or a connection string with one.
 */
export class PgkeepError extends Error {
  readonly code: ErrorCode;
  readonly remedy: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "PgkeepError";
    this.code = code;
    this.remedy = details.remedy;
  }
}

/** Wrong command line or configuration: the process exits with 2 instead of 3. */
export class UsageError extends PgkeepError {
  constructor(message: string, details: ErrorDetails = {}, code: "usage" | "configuration" = "usage") {
    super(code, message, details);
    this.name = "UsageError";
  }
}

/** The message of anything that was thrown, without a stack. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
