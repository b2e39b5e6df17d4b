import { describe, expect, it } from "vitest";
import { sameSetting } from "../../lib/install/settings.ts";

describe("two spellings of a setting", () => {
  it.each([
    ["lock_timeout", "30s", "30000"],
    ["lock_timeout", "30s", "30000ms"],
    ["lock_timeout", "60s", "1min"],
    ["lock_timeout", "3600s", "1h"],
    ["lock_timeout", "30s", " 30 s "],
    ["default_transaction_read_only", "on", "true"],
    ["default_transaction_read_only", "on", "1"],
    ["role", "shop_owner", "shop_owner"],
  ])("of %s are the same: %s and %s", (name, a, b) => {
    expect(sameSetting(name, a, b)).toBe(true);
  });

  it.each([
    ["lock_timeout", "30s", "30"],
    ["lock_timeout", "30s", "0"],
    ["lock_timeout", "30s", "nonsense"],
    ["default_transaction_read_only", "on", "off"],
    ["role", "shop_owner", "shop_app"],
  ])("of %s differ: %s and %s", (name, a, b) => {
    expect(sameSetting(name, a, b)).toBe(false);
  });
});
