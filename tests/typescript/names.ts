export * from "@avocet/client";
export { Code } from "@connectrpc/connect";
export { toJsonString } from "@bufbuild/protobuf";
