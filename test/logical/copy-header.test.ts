import { Readable } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { redirectCopy } from "../../lib/logical/copy-header.ts";
import { qualified } from "../../lib/postgres/identifiers.ts";

const redirected = async (parts: (string | Buffer)[]) =>
  Buffer.concat(
    await Readable.from(parts.map((part) => Buffer.from(part)))
      .pipe(redirectCopy('"s"."new"'))
      .toArray(),
  ).toString();

describe("sending the rows of a dump to another table", () => {
  it("changes the statement and nothing else", async () => {
    expect(
      await redirected([
        "SET x = 1;\n\nCOPY public.orders (id, note) FROM stdin;\n1\tCOPY a.b (c) FROM stdin;\n\\.\n",
      ]),
    ).toBe('SET x = 1;\n\nCOPY "s"."new" (id, note) FROM stdin;\n1\tCOPY a.b (c) FROM stdin;\n\\.\n');
  });

  it("takes a table without columns", async () => {
    expect(await redirected(["COPY public.orders  FROM stdin;\n".replace("  ", " ")])).toBe(
      'COPY "s"."new" FROM stdin;\n',
    );
  });

  it("understands any name, however the text is cut", async () => {
    const names = fc
      .string({ minLength: 1, maxLength: 12, unit: "binary" })
      .filter((name) => !name.includes("\0"));
    await fc.assert(
      fc.asyncProperty(
        names,
        names,
        fc.array(names, { maxLength: 3 }),
        fc.integer({ min: 1, max: 40 }),
        async (schema, table, columns, size) => {
          const list =
            columns.length === 0
              ? ""
              : `(${columns.map((column) => `"${column.replaceAll('"', '""')}"`).join(", ")}) `;
          const rows = "1\t2\nCOPY x.y FROM stdin;\n\\.\n";
          const bytes = Buffer.from(`-- head\nCOPY ${qualified(schema, table)} ${list}FROM stdin;\n${rows}`);
          const parts: Buffer[] = [];
          for (let start = 0; start < bytes.length; start += size)
            parts.push(bytes.subarray(start, start + size));
          expect(await redirected(parts)).toBe(`-- head\nCOPY "s"."new" ${list}FROM stdin;\n${rows}`);
        },
      ),
    );
  });

  it("fails when there is no such statement", async () => {
    await expect(redirected(["INSERT INTO public.orders VALUES (1);\n"])).rejects.toThrow("no rows");
    await expect(redirected(["COPY (select 1) TO stdout;\nCOPY a.b FROM stdin;\n"])).rejects.toThrow(
      "no rows",
    );
  });
});
