import { createHash, createHmac, pbkdf2, randomBytes } from "node:crypto";
import { promisify } from "node:util";

const derive = promisify(pbkdf2);

/** PostgreSQL's default `scram_iterations`. */
const defaultIterations = 4096;

/**
 * What PostgreSQL stores for a password (RFC 5802, RFC 7677): sent instead of the password, so that the clear
 * text reaches neither the server's log nor pg_stat_statements.
 */
export async function scramVerifier(
  password: string,
  salt: Buffer = randomBytes(16),
  iterations: number = defaultIterations,
): Promise<string> {
  const salted = await derive(saslPrep(password), salt, iterations, 32, "sha256");
  const hmac = (text: string) => createHmac("sha256", salted).update(text).digest();
  const storedKey = createHash("sha256").update(hmac("Client Key")).digest("base64");
  const serverKey = hmac("Server Key").toString("base64");
  return `SCRAM-SHA-256$${iterations}:${salt.toString("base64")}$${storedKey}:${serverKey}`;
}

const nonAsciiSpace = /[\u00A0\u1680\u2000-\u200B\u202F\u205F\u3000]/g;
// biome-ignore lint/suspicious/noMisleadingCharacterClass: RFC 3454, table B.1 lists exactly these joiners and selectors.
const mappedToNothing = /[\u00AD\u034F\u1806\u180B\u180C\u180D\u200C\u200D\u2060\uFE00-\uFE0F\uFEFF]/g;

/** The parts of SASLprep (RFC 4013) that change a password; clients do the same when they log in. */
function saslPrep(password: string): string {
  return password.replace(nonAsciiSpace, " ").replace(mappedToNothing, "").normalize("NFKC");
}
