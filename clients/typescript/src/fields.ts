import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";

/** The fields of a request that a caller states, without those that this package takes care of. */
export type Fields<S extends DescMessage, K extends PropertyKey = never> = Omit<
  Extract<MessageInitShape<S>, { readonly $typeName?: never }>,
  K | "$typeName" | "$unknown"
>;
