import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { certificate } from "../../lib/checks/certificate.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { type Authority, makeAuthority } from "../helpers/certificates.ts";
import { switchTlsOn } from "../helpers/function-setting.ts";
import { useServer } from "../helpers/postgres.ts";
import { ask, metricOf } from "./helpers.ts";

const day = 86_400;

describe("the certificate that a server shows", () => {
  const server = useServer();
  let directory: string;
  let database: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "pgkeep-certificate-"));
    database = await server.createDatabase();
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  /** A session over TLS to a server with a certificate and an authority that are good for so many days. */
  async function secured(name: string, days: { server: number; authority: number }): Promise<Session> {
    const authority = await makeAuthority(directory, name, days.authority);
    const issuing: Authority = { ...authority, issue: (host) => authority.issue(host, days.server) };
    await switchTlsOn(server, issuing, "localhost");
    // The server takes the new files with its next configuration, which takes it a moment.
    for (;;) {
      try {
        return await connect({
          ...server.target(database),
          host: "localhost",
          ssl: { ca: authority.certificate, rejectUnauthorized: true },
        });
      } catch (error) {
        if (!/self-signed|verify|issuer|does not support SSL/.test(String(error))) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  it.each([
    ["is fine for two months", { server: 60, authority: 400 }, 60, undefined],
    ["is a finding in its last month", { server: 20, authority: 400 }, 20, "high"],
    ["is critical in its last week", { server: 5, authority: 400 }, 5, "critical"],
    ["is no better than the authority that vouches for it", { server: 60, authority: 20 }, 20, "high"],
  ])("%s", async (name, days, left, severity) => {
    const session = await secured(name.replaceAll(" ", "-"), days);
    const result = await ask(certificate, session);
    expect((metricOf(result.metrics, "CertificateLifeSeconds") ?? 0) / day).toBeCloseTo(left, 1);
    expect(result.findings.map((finding) => finding.severity)).toEqual(
      severity === undefined ? [] : [severity],
    );
    await session.close();
  });

  it("is none where the connection is not encrypted, and nothing is measured", async () => {
    const session = await server.connect(database);
    expect(await ask(certificate, session)).toMatchObject({
      verdict: "pass",
      facts: { encrypted: false },
      metrics: [],
    });
    await session.close();
  });
});
