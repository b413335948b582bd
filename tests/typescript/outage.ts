// Calls and streams while the server restarts. Each line that is read from stdin lets the next step begin.
import { createInterface } from "node:readline";
import { Action, TransportError } from "@avocet/client";
import { correctionsClient } from "@avocet/client/node";

const client = correctionsClient(process.env["AVOCET_ADDRESS"]!, {
  token: process.env["AVOCET_TEST_SECRET"]!,
  protocol: process.env["AVOCET_PROTOCOL"] === "grpc-web" ? "grpc-web" : "grpc",
  retryForMs: 20_000,
});
const impatient = correctionsClient(process.env["AVOCET_ADDRESS"]!, { retryForMs: 0 });
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (what: unknown) => console.log(JSON.stringify(what));

const exported = client.export({ batchSize: 5 })[Symbol.asyncIterator]();
const ids: string[] = [];
for (let n = 0; n < 7; n += 1) {
  ids.push((await exported.next()).value!.id);
}
say("begun");
await lines.next(); // the server is away
await impatient.stats({}).catch((error: unknown) => say(error instanceof TransportError && error.name));
const decision = client.submit({ id: "c05", action: Action.DISCARD });
const count = client.stats({});
say("calling");
await lines.next(); // the server is back
await decision;
say((await count).total === 30n);
for (let next = await exported.next(); !next.done; next = await exported.next()) {
  ids.push(next.value.id);
}
say(ids);
process.exit(0);
