// Prints recommendations for a user: `node quick_start.ts anna`, against `groundswell up`.
import { connect } from "groundswell-client";

const [userId = "anna", ranker = "http://127.0.0.1:50053"] = process.argv.slice(2);
const { ranker: client } = connect({ ranker });
const answer = await client.recommend({ subject: { case: "userId", value: userId }, pageSize: 5 });
for (const { title, score } of answer.recommendations) {
  console.log(score.toFixed(2).padStart(6), title);
}
