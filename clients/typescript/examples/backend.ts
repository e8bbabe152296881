// Shows a list, records a click on it, and reads an error: `node backend.js anna`.
import { randomUUID } from "node:crypto";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { Action, connect, Degradation, EventStatus, failure } from "groundswell-client";

const [userId = "anna", ranker, session] = process.argv.slice(2);
const client = connect({ ...(ranker && { ranker }), ...(session && { session }) });
const subject = { case: "userId", value: userId } as const;
try {
  // With a deadline of 2 s unless `timeoutMs` says another; retries are within it.
  const answer = await client.ranker.recommend({ subject, pageSize: 5 });
  for (const { itemId, score } of answer.recommendations) console.log("item:", itemId, score.toFixed(2));
  console.log("degradations:", ...answer.degradations.map((each) => Degradation[each]));

  // The token says which list led to the click. The id makes a retry a duplicate.
  const { results } = await client.session.recordEvents({
    events: [{
      eventId: randomUUID(), userId, itemId: answer.recommendations[0]!.itemId, action: Action.CLICK,
      time: timestampNow(), attributionToken: answer.attributionToken,
    }],
  });
  console.log("recorded:", EventStatus[results[0]!.status], results[0]!.reason);

  await client.ranker.recommend({ subject, pageSize: 0 });
} catch (error) {
  const { status, reason, violations, retryAfterMs = 0 } = failure(error);
  console.log("error:", status, reason, violations.map(({ field }) => field).join(), `${retryAfterMs / 1000}s`);
}
