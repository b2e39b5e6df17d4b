import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ConnectionTarget } from "../postgres/connect.ts";
import type { SandboxState } from "./state.ts";

/** The certificate by which the sandbox's jobs verify its primary; absent while it speaks no TLS, as by default. */
export function trustedCertificateFile(state: Pick<SandboxState, "directory">): string {
  return join(state.directory, "primary.crt");
}

/** How jobs connect to the primary at this moment. */
export async function primaryTls(
  state: Pick<SandboxState, "directory">,
): Promise<Pick<ConnectionTarget, "ssl">> {
  try {
    const certificate = await readFile(trustedCertificateFile(state), "utf8");
    return { ssl: { ca: certificate, rejectUnauthorized: true } };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw error;
  }
}
