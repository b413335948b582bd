export * from "./client.js";
export type { BulkOptions, Correction, IngestResult } from "./bulk.js";
export { Export, type ExportOptions, type ExportRequest, type ExportState } from "./exports.js";
export * from "./errors.js";
export * from "./gen/avocet/corrections/v1/corrections_pb.js";
export { ErrorReason, ErrorReasonSchema } from "./gen/avocet/corrections/v1/error_reason_pb.js";
export { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
