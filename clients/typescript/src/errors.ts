/** Reads errors of calls: the status, the stable reason, the wrong fields, and when to try again. */

import { Code, ConnectError } from "@connectrpc/connect";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";

export interface Failure {
  /** The canonical status, such as "INVALID_ARGUMENT". */
  status: string;
  /** The contract's stable reason, such as "PAGE_SIZE_INVALID"; empty when no server answered. */
  reason: string;
  /** For people; programs must not read it. */
  message: string;
  /** The fields of the request that are wrong. */
  violations: { field: string; description: string }[];
  /** When trying again may help; undefined when the server did not say. */
  retryAfterMs: number | undefined;
}

/** What is known of the error of a call. */
export function failure(error: unknown): Failure {
  const its = ConnectError.from(error);
  const delay = its.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return {
    status: (Code[its.code] ?? "Unknown").replace(/(?!^)[A-Z]/g, "_$&").replace("Canceled", "Cancelled").toUpperCase(),
    reason: its.findDetails(ErrorInfoSchema)[0]?.reason ?? "",
    message: its.rawMessage,
    violations: its.findDetails(BadRequestSchema).flatMap((each) => each.fieldViolations),
    retryAfterMs: delay && durationMs(delay),
  };
}
