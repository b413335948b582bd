import type { Candidate } from "@avocet/client";

type Json = Record<string, unknown>;

/** The names of the tools that the model was given. */
export function toolNames(candidate: Candidate): readonly string[] {
  const tools = parsed(candidate.toolsJson);
  const names = (Array.isArray(tools) ? (tools as (Json | null)[]) : []).map((tool) => (tool?.["function"] as Json | undefined) ?? tool);
  return names.flatMap((named) => (typeof named?.["name"] === "string" ? [named["name"]] : []));
}

/** Whether the model answered with tool calls, or could have. */
export function mayCallTools(candidate: Candidate): boolean {
  return candidate.toolsJson !== "" || hasCalls(parsed(candidate.modelResponseJson));
}

/** The model's own response as the JSON of a message, to compare a corrected message with. */
export function responseMessage(candidate: Candidate): string {
  const response = parsed(candidate.modelResponseJson);
  return shown(hasCalls(response) ? response : { role: "assistant", content: candidate.modelResponse });
}

/** What the editor of tool calls begins with: the model's own calls, or a call of the first tool. */
export function messageTemplate(candidate: Candidate): string {
  const response = parsed(candidate.modelResponseJson);
  return hasCalls(response) ? shown(response) : withCall(shown({ role: "assistant", content: null }), toolNames(candidate)[0] ?? "");
}

/** The message with one more call; as it is if it cannot be read. */
export function withCall(text: string, name: string): string {
  const message = parsed(text);
  if (typeof message !== "object" || message === null) {
    return text;
  }
  const before = (message as Json)["tool_calls"];
  const calls = (Array.isArray(before) ? before : []) as unknown[];
  const call = { id: `call_${calls.length + 1}`, type: "function", function: { name, arguments: "{}" } };
  return shown({ ...message, tool_calls: [...calls, call] });
}

/** What is wrong with a message, in words for the reviewer; "" if nothing is. */
function faultOf(text: string): string {
  let message: Json;
  try {
    message = JSON.parse(text) as Json;
  } catch (error) {
    return `This is not JSON: ${(error as Error).message}`;
  }
  if (typeof message !== "object" || message === null || Array.isArray(message)) {
    return "A message is a JSON object with content and tool_calls.";
  }
  const { role = "assistant", content, tool_calls: calls } = message;
  if (role !== "assistant") {
    return "The role must be assistant.";
  }
  if (content !== undefined && content !== null && typeof content !== "string") {
    return "content must be a text or null.";
  }
  if (calls === undefined && !(content as string | null)?.trim()) {
    return "A message needs content or tool_calls.";
  }
  if (calls !== undefined && !(Array.isArray(calls) && calls.length > 0)) {
    return "tool_calls must be a list with a call.";
  }
  return ((calls ?? []) as Json[]).map(faultOfCall).find(Boolean) ?? "";
}

function faultOfCall(call: Json, place: number): string {
  const called = (call?.["function"] ?? {}) as Json;
  if (typeof called["name"] !== "string" || !called["name"]) {
    return `Call ${place + 1} needs the name of a function.`;
  }
  const given = called["arguments"];
  return typeof given === "string" && parsed(given) === undefined ? `The arguments of call ${place + 1} are not JSON.` : "";
}

/** The message for the service. The text has no fault. */
export function correctedMessage(text: string) {
  const { role: _, content, ...extra } = JSON.parse(text) as Json;
  return {
    role: "assistant",
    ...(typeof content === "string" && content.trim() && { content }),
    extraJson: Object.keys(extra).length > 0 ? JSON.stringify(extra) : "",
  };
}

/** The text of the editor for a correction that was made with a message. */
export function messageText({ content, extraJson }: { content?: string | undefined; extraJson: string }): string {
  return shown({ role: "assistant", content: content ?? null, ...(parsed(extraJson) as Json | undefined) });
}

function hasCalls(message: unknown): message is Json {
  return typeof message === "object" && message !== null && Array.isArray((message as Json)["tool_calls"]);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function shown(value: unknown): string {
  return JSON.stringify(value, null, 2);
}

/** What is wrong with what stands in the editor, in words for the reviewer; "" if nothing is. */
export function faultOfCorrection(text: string | null, isMessage: boolean): string {
  if (!text?.trim()) {
    return "A correction needs a text.";
  }
  return isMessage ? faultOf(text) : "";
}

/** The text of the editor for a correction that was made; null if there is none. */
export function correctionOf({ correctedMessage: message, correctedResponse }: Candidate): string | null {
  return message ? messageText(message) : (correctedResponse ?? null);
}
