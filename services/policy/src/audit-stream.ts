// The AUDIT stream as seen from its one user: what it is called, how much it may hold, and its messages in order.
import { type Bus, readMessages, type StoredMessage } from "@aether/bus";

export const auditStream = "AUDIT";
export const auditSubject = "aether.audit.v0";

// What nats-server adds to a message in its file, headers and subject included; rather too much than too little.
const messageOverheadBytes = 192;
const readAtOnce = { maxMessages: 256, maxBytes: 4 * 1024 * 1024 };

/** Bytes that a message of this size takes of the stream's maximum. */
export function storedBytes(dataBytes: number): number {
  return dataBytes + messageOverheadBytes;
}

/** What the stream may hold; it drops its oldest beyond that. */
export async function streamMaxBytes(bus: Bus): Promise<number> {
  const { config } = await bus.jsm.streams.info(auditStream);
  return config.max_bytes > 0 ? config.max_bytes : Number.POSITIVE_INFINITY;
}

/** Messages from a sequence on up to and including another; while some are worked on, the next are on their way. */
export async function* readStream(bus: Bus, from: number, to: number): AsyncGenerator<StoredMessage> {
  const read = (next: number) => readMessages(bus, auditStream, auditSubject, { from: next, ...readAtOnce });
  let coming = from <= to ? read(from) : null;
  for (let next = from; coming; ) {
    const messages = await coming;
    if (messages.length === 0) throw new Error(`${auditStream}: there is nothing from ${next} to ${to}`);
    next = (messages.at(-1)?.sequence ?? to) + 1;
    coming = next <= to ? read(next) : null;
    coming?.catch(() => {}); // seen when it is awaited, which whoever stops reading does not do
    for (const message of messages) {
      if (message.sequence > to) return;
      yield message;
    }
  }
}
