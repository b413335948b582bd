const { CandidateNotFound, clientOver } = require("@avocet/client");
const { correctionsClient } = require("@avocet/client/node");
const { correctionsClient: web } = require("@avocet/client/web");

(async () => {
  const client = correctionsClient(process.env.AVOCET_ADDRESS);
  const { total } = await client.stats({});
  const refused = await client.getCandidate({ id: "none" }).catch((error) => error instanceof CandidateNotFound);
  console.log(Number(total) > 0, refused, typeof clientOver, typeof web);
  process.exit(0);
})();
