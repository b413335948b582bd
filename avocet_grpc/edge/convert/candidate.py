"""A candidate for reviewers: nothing of the record is lost."""

from __future__ import annotations

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core import forms
from avocet_grpc.core.json_text import python_json
from avocet_grpc.core.model import Candidate, Record
from avocet_grpc.core.record import line_text, record_of, replace_surrogates
from avocet_grpc.edge.convert.fields import FITTERS, fit
from avocet_grpc.edge.convert.messages import chat_message


def candidate_message(candidate: Candidate, *, include_record: bool = False) -> pb.Candidate:
    """Return a candidate of the store as the wire has it, with its `record_json` if that is asked for."""
    made = pb.Candidate()
    fill_candidate(made, candidate, include_record=include_record)
    return made


def fill_candidate(made: pb.Candidate, candidate: Candidate, *, include_record: bool = False) -> None:
    """As `candidate_message`, for an empty candidate of a message: another one would be copied into it."""
    record = record_of(candidate)
    typed, rest = fit(record, FITTERS)
    for name, value in typed.items():
        setattr(made, name, value)
    made.revision = candidate.revision
    _set_prompt(made, record, rest, candidate.prompt_digest)
    _set_response(made, record, rest)
    _set_correction(made, record, rest)
    if (tools := forms.tools_of(record)) is not None:
        made.tools_json = python_json(tools)
        del rest["tools"]
    if rest:
        made.extra_json = python_json(rest)
    if include_record:
        made.record_json = line_text(candidate.raw)


def _set_prompt(made: pb.Candidate, record: Record, rest: Record, known: bytes | None) -> None:
    value = rest.pop("prompt_messages", None)
    messages = forms.prompt_of(record)
    if messages is None:
        made.prompt_json = python_json(value)
        return
    for message in messages:
        made.prompt_messages.add(**chat_message(message, python_json))
    if (digest := known or forms.messages_digest(messages)) is not None:
        made.prompt_digest = digest.hex()
    if beside := forms.beside_prompt(record):
        rest["prompt_messages"] = beside


def _set_response(made: pb.Candidate, record: Record, rest: Record) -> None:
    value = rest.pop("model_response", None)
    if value is None:
        return
    made.model_response = replace_surrogates(forms.response_of(record))
    if not isinstance(value, str):
        made.model_response_json = python_json(value)


def _set_correction(made: pb.Candidate, record: Record, rest: Record) -> None:
    """Set the correction. A number is served as its text and stays among the rest, which alone has its type."""
    if "corrected_response" in rest and (text := forms.correction_of(record)) is not None:
        made.corrected_response = text
    if (message := forms.corrected_message_of(record)) is not None:
        made.corrected_message.CopyFrom(pb.ChatMessage(**chat_message(message, python_json)))
        del rest["corrected_message"]
    elif rest.get("corrected_message", "") is None:
        del rest["corrected_message"]
