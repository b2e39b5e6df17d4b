import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export interface Authority {
  certificate: string;
  /** A certificate and key for a server of this name. */
  issue(name: string, days?: number): Promise<{ certificate: string; key: string }>;
}

/** A certificate authority of its own, with its files in `directory`. */
export async function makeAuthority(directory: string, name: string, days = 2): Promise<Authority> {
  const file = (suffix: string) => join(directory, `${name}-${suffix}`);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const ca = ["-keyout", file("ca.key"), "-out", file("ca.pem")];
  await run("openssl", ["req", "-x509", ...key, "-days", String(days), "-subj", `/CN=${name}`, ...ca]);
  return {
    certificate: await readFile(file("ca.pem"), "utf8"),
    async issue(host, daysOfServer = 2) {
      const out = (suffix: string) => file(`${host}.${suffix}`);
      const csr = ["-keyout", out("key"), "-out", out("csr")];
      await run("openssl", ["req", ...key, "-subj", `/CN=${host}`, ...csr]);
      await writeFile(out("ext"), `subjectAltName=DNS:${host}\n`);
      const by = ["-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial"];
      const extensions = ["-extfile", out("ext"), "-out", out("pem")];
      await run("openssl", [
        "x509",
        "-req",
        "-in",
        out("csr"),
        "-days",
        String(daysOfServer),
        ...by,
        ...extensions,
      ]);
      return { certificate: await readFile(out("pem"), "utf8"), key: await readFile(out("key"), "utf8") };
    },
  };
}
