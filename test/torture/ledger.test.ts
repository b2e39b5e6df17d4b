import { setTimeout as delay } from "node:timers/promises";
import { expect, it } from "vitest";
import { seededRandom } from "../../lib/sandbox/application/random.ts";
import { useServer } from "../helpers/postgres.ts";
import { Ledger } from "./ledger.ts";

const server = useServer();

it("a ledger notices a lost row, a younger one, a torn transaction and a stranger", async () => {
  const database = await server.createDatabase();
  const session = await server.connect(database);
  const ledger = await Ledger.create(session);
  const ending = new AbortController();
  const writing = ledger.write(server.target(database), seededRandom(1), ending.signal);
  await delay(300);
  const middle = Date.now();
  await delay(100);
  ending.abort();
  await writing;
  expect(ledger.acknowledgedBefore(middle)).toBeGreaterThan(10);
  expect(await ledger.problems(session)).toEqual([]);
  expect((await ledger.problems(session, middle))[0]).toMatch(/is there although it is younger$/);

  const doctored = async (statement: string) => {
    await session.query("begin");
    await session.query(statement);
    const problems = await ledger.problems(session);
    await session.query("rollback");
    return problems;
  };
  const lost = await doctored("delete from public.ledger where id = (select min(id) from public.ledger)");
  expect(lost).toEqual([
    expect.stringMatching(/^row \d+ .* is lost$/),
    expect.stringMatching(/a transaction was torn$/),
  ]);
  expect(await doctored("update public.balance set total = total + 1 where writer = 1")).toEqual([
    expect.stringMatching(/^writer 1 has a balance of \d+, but rows for \d+/),
  ]);
  expect(await doctored("insert into public.ledger values (1000000, 1, 0, '')")).toEqual([
    "row 1000000 was never written",
  ]);
  await session.close();
});
