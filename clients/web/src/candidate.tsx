import { type Candidate, CandidateStatus } from "@avocet/client";
import { useState } from "preact/hooks";
import { said, useAnswer } from "./answers.js";
import { Boundary } from "./boundary.js";
import { HistoryOf } from "./history.js";
import { messageText, responseMessage } from "./message.js";
import { Chips, Conversation, Difference, Text, Unread } from "./parts.js";
import type { Place } from "./place.js";
import type { Session } from "./session.js";
import { statusOf } from "./words.js";

/** One candidate of any status, with what happened to it. */
export function CandidateView({ session, place, isRaw }: { session: Session; place: Place; isRaw: boolean }) {
  const { client } = session;
  const { id } = place;
  const [round, again] = useState(0);
  const [told, tell] = useState("");
  const answer = useAnswer(async () => (await client.getCandidate({ id })).candidate!, [client, id, round]);
  if (typeof answer === "string") {
    return <Unread said={answer} of="the candidate" />;
  }
  const isInReview = answer.status === CandidateStatus.NEEDS_REVIEW;
  const undo = async () => {
    try {
      await client.undo({ id, expectedRevision: answer.revision, reviewer: session.reviewer.stated });
      session.stack.forget(id);
      tell(`Undone: ${id}`);
    } catch (thrown) {
      tell(said(thrown));
    }
    again((before) => before + 1);
  };
  const review = () => {
    session.bring(answer);
    location.hash = "#/";
  };
  return (
    <>
      <h2>{answer.taskName || answer.taskType || "Candidate"}</h2>
      <Chips candidate={answer} />
      <p role="status">{told}</p>
      <p>
        {statusOf(answer.status)}
        {answer.reviewedBy && ` by ${answer.reviewedBy}`}
        {answer.reviewedAt && `, ${answer.reviewedAt}`}
        {answer.claim && `, with ${answer.claim.reviewer} now`}{" "}
        {isInReview ? <button onClick={review}>Review it</button> : <button onClick={() => void undo()}>Undo the decision</button>}
      </p>
      <div class="columns">
        <Conversation candidate={answer} isRaw={isRaw} />
        <section class="correction" aria-label="Correction">
          <Boundary key={`${answer.revision}`} of="the correction">
            <Corrected candidate={answer} isRaw={isRaw} />
          </Boundary>
          <Boundary key={`${round}`} of="the history">
            <HistoryOf client={client} id={id} round={round} />
          </Boundary>
        </section>
      </div>
    </>
  );
}

function Corrected({ candidate, isRaw }: { candidate: Candidate; isRaw: boolean }) {
  const { correctedMessage: message, correctedResponse } = candidate;
  const text = message ? messageText(message) : correctedResponse;
  if (!text) {
    return null;
  }
  const before = message ? responseMessage(candidate) : candidate.modelResponse;
  return (
    <>
      <h3>correction</h3>
      <Text text={text} isRaw={isRaw || message !== undefined} />
      <h3>difference</h3>
      <Difference before={before} after={text} />
    </>
  );
}
