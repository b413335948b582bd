import { CandidateNotFound, clientOver } from "@avocet/client";
import { correctionsClient } from "@avocet/client/node";
import { correctionsClient as web } from "@avocet/client/web";

const client = correctionsClient(process.env.AVOCET_ADDRESS);
const { total } = await client.stats({});
const refused = await client.getCandidate({ id: "none" }).catch((error) => error instanceof CandidateNotFound);
console.log(Number(total) > 0, refused, typeof clientOver, typeof web);
process.exit(0);
