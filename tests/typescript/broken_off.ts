// Sixty clients break off an export whose data they have not read. The process must end by itself.
import { correctionsClient } from "@avocet/client/node";

for (let n = 0; n < 60; n += 1) {
  const client = correctionsClient(process.env["AVOCET_ADDRESS"]!);
  const examples = client.export();
  for await (const example of examples) {
    if (example.id && examples.consumed === 5) {
      break;
    }
  }
  const state = examples.state();
  for await (const example of client.export({ atRevision: BigInt(state.revision) }, { state })) {
    if (!example.id) {
      throw new Error("an example without an id");
    }
  }
}
console.log("done");
