// Whether an error says that NATS or JetStream did not answer: away, late, restarting. What was asked may have happened.
import { JetStreamApiError, JetStreamError } from "@nats-io/jetstream";
import {
  ClosedConnectionError,
  ConnectionError,
  DrainingConnectionError,
  NoRespondersError,
  RequestError,
  TimeoutError,
} from "@nats-io/transport-node";

const kinds = [
  ClosedConnectionError,
  ConnectionError,
  DrainingConnectionError,
  JetStreamError,
  NoRespondersError,
  RequestError,
  TimeoutError,
];
const unavailableStatus = 503;

/** Whether it may be over soon; any other error of the bus is somebody's mistake. */
export function isInterruption(error: unknown): boolean {
  if (error instanceof JetStreamApiError) return error.status === unavailableStatus;
  return kinds.some((kind) => error instanceof kind);
}
