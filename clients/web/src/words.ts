import { CandidateStatus } from "@avocet/client";

export function statusOf(status: CandidateStatus): string {
  const name = CandidateStatus[status] as string | undefined; // a newer service may have more of them
  return status === CandidateStatus.UNSPECIFIED || !name ? "other status" : name.toLowerCase().replaceAll("_", " ");
}

/** How many there are: "1 line", "2,000 lines". */
export function counted(count: number | bigint, one: string): string {
  return `${count.toLocaleString()} ${Number(count) === 1 ? one : `${one}s`}`;
}

export function timeOf(time: { readonly seconds: bigint } | undefined): string {
  return time ? new Date(Number(time.seconds) * 1_000).toLocaleString() : "";
}
