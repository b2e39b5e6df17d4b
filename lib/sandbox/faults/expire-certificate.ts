import { execFile } from "node:child_process";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { PgkeepError } from "../../errors.ts";
import { connect } from "../../postgres/connect.ts";
import { serverFiles } from "../cluster.ts";
import { exists, giveTo } from "../owner.ts";
import { changeSettings } from "../server.ts";
import type { SandboxState } from "../state.ts";
import { trustedCertificateFile } from "../tls.ts";
import type { Fault, FaultContext } from "./fault.ts";
import { primaryOf, withSuperuser } from "./held-sessions.ts";

const days = 3;

/** In the data directory, so that a copy of the cluster has them too. */
const certificateFile = "pgkeep-fault.crt";
const keyFile = "pgkeep-fault.key";

const patienceMilliseconds = 10_000;
const pollMilliseconds = 50;

export const expireCertificate: Fault = {
  name: "expire-certificate",
  alarms: ["certificate-expiry", "certificate-renewal"],
  summary: `give the primary a certificate that expires in ${days} days, and have jobs connect with TLS: all works still, and check-health says for how long`,
  apply: async (context) => {
    const { state } = context;
    const details = { server: state.primary.name, days };
    if (await exists(trustedCertificateFile(state))) {
      return {
        outcome: "already-applied",
        message: `the certificate of ${state.primary.name} expires soon`,
        details,
      };
    }
    const { certificate, key } = await makeCertificate(state);
    for (const [name, text] of [
      [certificateFile, certificate],
      [keyFile, key],
    ] as const) {
      const path = join(state.primary.dataDirectory, name);
      await writeFile(path, text, { mode: 0o600 });
      await giveTo(state.owner, path);
    }
    try {
      await setTls(state, true);
      await waitForCertificate(context, certificate);
      // Whole or not at all: from here on every session of a job verifies the primary by it.
      const draft = `${trustedCertificateFile(state)}.partial`;
      await writeFile(draft, certificate, { mode: 0o600 });
      await rename(draft, trustedCertificateFile(state));
    } catch (error) {
      await withdraw(state).catch(() => {});
      throw error;
    }
    return {
      outcome: "applied",
      message: `${state.primary.name} shows a certificate that expires in ${days} days`,
      details,
    };
  },
  repair: async ({ state }) => {
    const details = { server: state.primary.name, days };
    const was = await exists(trustedCertificateFile(state));
    const left = await exists(join(state.primary.dataDirectory, keyFile));
    if (!was && !left) {
      return { outcome: "not-applied", message: `${state.primary.name} speaks no TLS`, details };
    }
    await withdraw(state);
    return {
      outcome: "repaired",
      message: `${state.primary.name} speaks no TLS any more, as before`,
      details,
    };
  },
};

/** Clients first, then the server, then its files. */
async function withdraw(state: SandboxState): Promise<void> {
  await rm(trustedCertificateFile(state), { force: true });
  await setTls(state, false);
  for (const name of [certificateFile, keyFile]) {
    await rm(join(state.primary.dataDirectory, name), { force: true });
  }
}

/** @throws PgkeepError `unreachable` when the primary is down: then it takes the settings when it starts. */
async function setTls(state: SandboxState, on: boolean): Promise<void> {
  await changeSettings(serverFiles(state, state.primary.dataDirectory), {
    ssl: on ? true : null,
    ssl_cert_file: on ? certificateFile : null,
    ssl_key_file: on ? keyFile : null,
  });
  await withSuperuser(state, (session) => session.query("select pg_reload_conf()"));
}

/** The server takes its new configuration a moment after it was told to. */
async function waitForCertificate({ state, clock, signal }: FaultContext, certificate: string) {
  for (let waited = 0; ; waited += pollMilliseconds) {
    try {
      const ssl = { ca: certificate, rejectUnauthorized: true };
      const session = await connect({ ...primaryOf(state), ...state.superuser, ssl });
      return await session.close();
    } catch (error) {
      if (waited >= patienceMilliseconds) throw error;
      await clock.sleep(pollMilliseconds, signal);
    }
  }
}

/** Signed by itself. @throws PgkeepError `refused` without the program `openssl`: Node.js signs no certificates */
async function makeCertificate(state: SandboxState): Promise<{ certificate: string; key: string }> {
  const directory = join(state.directory, "faults", "expire-certificate");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const [certificate, key] = [join(directory, certificateFile), join(directory, keyFile)];
  try {
    await promisify(execFile)("openssl", [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
      ...["-days", String(days), "-subj", "/CN=pgkeep sandbox"],
      ...["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
    ]);
    return { certificate: await readFile(certificate, "utf8"), key: await readFile(key, "utf8") };
  } catch (error) {
    throw new PgkeepError(
      "refused",
      "no certificate could be made: the program openssl is missing or failed",
      {
        remedy: "install OpenSSL 1.1.1 or newer, then apply the fault again",
        cause: error,
      },
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
