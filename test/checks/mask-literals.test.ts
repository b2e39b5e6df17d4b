import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { maskLiterals } from "../../lib/checks/mask-literals.ts";

describe("a statement without its data", () => {
  it.each([
    ["select * from t where a = 'secret'", "select * from t where a = ?"],
    ["select 'it''s', \"Quoted 'name\" from t1", `select ?, "Quoted 'name" from t1`],
    ["select E'a\\'secret' , x", "select ? , x"],
    ["select e'\\\\', 'secret'", "select ?, ?"],
    ["select B'101', X'1F', N'secret', U&'d\\0061t'", "select ?, ?, ?, U&?"],
    ["select $$secret$$, $tag$ it's $$ secret $tag$, $1, $23", "select ?, ?, $1, $23"],
    ["select a$1$b from t where x = $1", "select a$1$b from t where x = $1"],
    ["select 42, -1.5e-10, .5, 0x1F, 1_000, col2, t3.c4", "select ?, -?, ?, ?, ?, col2, t3.c4"],
    ["select 1 -- secret 'x\n, 2", "select ? , ?"],
    ["select /* secret /* nested */ still secret */ 1", "select ?"],
    ["alter role a password 'secret'", "alter role a password ?"],
    ["select   1,\n\t2", "select ?, ?"],
    ['update "weird ""name" set x = \'secret\'', 'update "weird ""name" set x = ?'],
    ["select größe from täg1 where x='secret'", "select größe from täg1 where x=?"],
    ["", ""],
  ])("%j becomes %j", (statement, masked) => {
    expect(maskLiterals(statement)).toBe(masked);
  });

  it.each([
    ["cut by the server within a string", "select * from t where a = 'secr", "select * from t where a = ? …"],
    ["a backslash before a quote", "select 'it\\'s secret', 'more secret'", "select ? …"],
    ["cut within a dollar quote", "do $body$ begin secret", "do ? …"],
    ["cut within a comment", "select a /* secret", "select a"],
    ["cut within a quoted name", 'select "secre', "select …"],
  ])("leaves out all that it cannot be sure of: %s", (_, statement, masked) => {
    expect(maskLiterals(statement)).toBe(masked);
  });

  it("cuts long statements", () => {
    const masked = maskLiterals(`select ${"column_name, ".repeat(1000)}`);
    expect(masked.length).toBeLessThanOrEqual(401);
    expect(masked.endsWith("…")).toBe(true);
  });

  it("lets no string through, however it is quoted and whatever it contains", () => {
    const body = fc.array(
      fc.constantFrom("a", "'", "\\", "$", "-", "/", "*", '"', "\n", "SECRET", "1", " ", "é"),
    );
    const quotings: ((text: string) => string)[] = [
      (text) => `'${text.replaceAll("'", "''")}'`,
      (text) => `E'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`,
      (text) => `$q$${text}$q$`,
    ];
    fc.assert(
      fc.property(fc.array(fc.tuple(body, fc.nat(2)), { minLength: 1 }), (pieces) => {
        const statement = `select ${pieces
          .map(([parts, quoting]) =>
            (quotings[quoting] as (text: string) => string)(`SECRET${parts.join("")}`),
          )
          .join(", x, ")} from t`;
        expect(maskLiterals(statement)).not.toContain("SECRET");
      }),
      { numRuns: 2000 },
    );
  });

  it("takes time in proportion to the statement", () => {
    const begin = performance.now();
    maskLiterals(`select ${"'a', 1, $x$ b $x$, /* c */ \"d\", ".repeat(30_000)}`);
    expect(performance.now() - begin).toBeLessThan(15_000);
  });
});
