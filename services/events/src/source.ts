// What events are derived from, in the words that all sources share.
import type { TailMessage } from "@aether/bus";

/** Something that happened, as the state says it. */
export interface Happening {
  /** Sequence of the write in the source's stream by which it happened; of one thing, each is greater than the one before. */
  revision: number;
  type: string;
  time: string;
  data: Record<string, unknown>;
}

/** What one message of a source says about one thing. */
export interface Change {
  /** The thing's id: a token of a subject, and the events' `subject`. */
  key: string;
  owner: string;
  intentId: string | null;
  jobId: string | null;
  traceparent: string | null;
  /** All that is known to have happened, oldest first; what was told before may be among it. */
  happenings: Happening[];
  /** Whether more is to come soon, so that it is worth keeping at hand what is told of it. */
  isOpen: boolean;
}

export interface Source {
  /** Last step of the events' `source`, and a token of their subjects. */
  name: string;
  stream: string;
  subject: string;
  /** Null where the message says nothing of interest; throws where it is not what the stream should hold. */
  read(message: TailMessage): Change | null;
}
