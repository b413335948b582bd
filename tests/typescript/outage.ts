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
// A watch that has handed out the first change of two when the server dies.
const { revision } = await client.stats({});
await client.submitMany(["c01", "c02"].map((id) => ({ id, action: Action.DISCARD }))).next();
const changes = client.changes({ sinceRevision: revision })[Symbol.asyncIterator]();
const changed = [(await changes.next()).value!.id];
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
await client.submit({ id: "c03", action: Action.DISCARD });
while (changed.length < 4) {
  changed.push((await changes.next()).value!.id);
}
say(changed);
process.exit(0);
