import { memoryRouting } from "../../lib/url/routing.ts";
import { routingContract } from "../ports/routing.contract.ts";

routingContract("memory", async () => {
  const routing = memoryRouting();
  return () => routing;
});
