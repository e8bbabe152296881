/** The client of Groundswell for Node: typed calls with deadlines, retries and readable errors. */

export { connect, type GroundswellClient, type Targets } from "./client.js";
export { failure, type Failure } from "./errors.js";
export { vectorValues } from "./vectors.js";
export * from "../gen/groundswell/common/v1/event_pb.js";
export * from "../gen/groundswell/common/v1/item_pb.js";
export * from "../gen/groundswell/profile/v1/catalogue_service_pb.js";
export * from "../gen/groundswell/profile/v1/outcome_service_pb.js";
export * from "../gen/groundswell/ranker/v1/ranker_service_pb.js";
