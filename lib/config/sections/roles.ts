import { z } from "zod";
import { databaseName, seconds, whole } from "./forms.ts";

export const roles = z
  .strictObject({
    prefix: databaseName
      .optional()
      .describe(
        "The roles are named <prefix>_owner, _reader, _writer, _app, _reporting and _migrations; by default the database's name",
      ),
    logins: z
      .enum(["password", "iam"])
      .default("password")
      .describe(
        "On AWS, how the application, reporting and migrations log in to the database: with passwords that are kept in Secrets Manager and rotated, or with IAM tokens, end to end through the pooler",
      ),
    application: z
      .strictObject({
        statementTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(30)
          .describe("A statement of the application is cancelled after this"),
        lockTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(5)
          .describe("A wait of the application for a lock is given up after this"),
        idleInTransactionTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(60)
          .describe("An application's session that is idle in a transaction for longer is ended"),
        connectionLimit: whole(-1, 10_000)
          .default(-1)
          .describe("Connections of the application role at the same time; -1 for no limit"),
      })
      .prefault({}),
    reporting: z
      .strictObject({
        statementTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(300)
          .describe("A report is cancelled after this"),
        lockTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(5)
          .describe("A report's wait for a lock is given up after this"),
        idleInTransactionTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(300)
          .describe("A reporting session that is idle in a transaction for longer is ended"),
        connectionLimit: whole(-1, 10_000)
          .default(20)
          .describe("Connections of the reporting role at the same time; -1 for no limit"),
      })
      .prefault({}),
    migrations: z
      .strictObject({
        lockTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(5)
          .describe("A migration's wait for a lock is given up after this, so that nobody queues behind it"),
        idleInTransactionTimeoutSeconds: seconds({ min: 1, max: 86_400 })
          .default(300)
          .describe("A migration's session that is idle in a transaction for longer is ended"),
      })
      .prefault({}),
  })
  .meta({ id: "roles", description: "Roles in PostgreSQL and their limits" });
