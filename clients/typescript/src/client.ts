/** One object for the whole suite, with a typed client of each service that backends call. */

import { createClient, type Client, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, type GrpcTransportOptions } from "@connectrpc/connect-node";
import { CatalogueService } from "../gen/groundswell/profile/v1/catalogue_service_pb.js";
import { EventService } from "../gen/groundswell/profile/v1/event_service_pb.js";
import { OutcomeService } from "../gen/groundswell/profile/v1/outcome_service_pb.js";
import { RankerService } from "../gen/groundswell/ranker/v1/ranker_service_pb.js";
import { SessionService } from "../gen/groundswell/session/v1/session_service_pb.js";
import { withRetries } from "./retries.js";

/** The addresses of the services; those that are not given are where `groundswell up` has them. */
export interface Targets {
  ranker?: string;
  session?: string;
  profile?: string;
}

export interface GroundswellClient {
  ranker: Client<typeof RankerService>;
  session: Client<typeof SessionService>;
  catalogue: Client<typeof CatalogueService>;
  events: Client<typeof EventService>;
  outcomes: Client<typeof OutcomeService>;
}

/**
 * Make one client and keep it: each service has one HTTP/2 connection, which opens at its first call.
 * Unary calls have deadlines, `{ timeoutMs }` where it is given, and are tried again where that is safe.
 * `options` are Connect's own: `nodeOptions` for TLS, `interceptors` for a token.
 */
export function connect(targets: Targets = {}, options: Partial<GrpcTransportOptions> = {}): GroundswellClient {
  const open = (baseUrl: string): Transport =>
    withRetries(
      createGrpcTransport({ readMaxBytes: 64 * 2 ** 20, pingIntervalMs: 20_000, ...options, baseUrl }),
    );
  const ranker = open(targets.ranker ?? "http://127.0.0.1:50053");
  const session = open(targets.session ?? "http://127.0.0.1:50052");
  const profile = open(targets.profile ?? "http://127.0.0.1:50051");
  return {
    ranker: createClient(RankerService, ranker),
    session: createClient(SessionService, session),
    catalogue: createClient(CatalogueService, profile),
    events: createClient(EventService, profile),
    outcomes: createClient(OutcomeService, profile),
  };
}
