// What policy remembers beyond its policies, in KV `approvals` and KV `grants`: a ledger each, opened once, for everything that is
// kept there under a prefix of its own. Policy is their only writer, so what was read when it was opened, and written since, is
// all there is.
import { type Bus, type Ledger, ledgerWriterKey, openLedger, readMessages } from "@aether/bus";

const readAtOnce = { maxMessages: 1000, maxBytes: 4 * 1024 * 1024 };

export interface Remembered {
  readonly ledger: Ledger;
  /** What stood there when it was opened, by key. */
  readonly stored: ReadonlyMap<string, Stored>;
}

interface Stored {
  value: unknown;
  revision: number;
}

/** Takes the bucket over and reads it. */
export async function openRemembered(bus: Bus, bucket: "approvals" | "grants"): Promise<Remembered> {
  const ledger = await openLedger(bus, bucket);
  const stored = new Map<string, Stored>();
  const prefix = `$KV.${bucket}.`;
  for (let from = 1; from <= ledger.sequence; ) {
    const messages = await readMessages(bus, `KV_${bucket}`, `${prefix}>`, { from, ...readAtOnce });
    for (const { sequence, data, header } of messages) {
      const key = header("Nats-Subject")?.slice(prefix.length) ?? "";
      if (key !== ledgerWriterKey && header("KV-Operation") === undefined) {
        stored.set(key, { value: JSON.parse(new TextDecoder().decode(data)), revision: sequence });
      }
      from = sequence + 1;
    }
    if (messages.length === 0) break;
  }
  return { ledger, stored };
}
