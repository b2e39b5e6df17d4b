import { randomBytes } from "node:crypto";

/** 144 random bits in letters, digits, `-` and `_`: safe in connection strings, password files and SQL. */
export function randomPassword(): string {
  return randomBytes(18).toString("base64url");
}
