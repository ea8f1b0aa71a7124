// The log again as files in the log folder, beside the second place of the checkpoints: with these and the public key it is a
// copy that is verified without this service. A disk that is full stops the mirror and nothing else: no decision waits for it,
// and it goes on by itself where it was.
import { setTimeout } from "node:timers/promises";
import { type Bus, startTail, streamState } from "@aether/bus";
import { readBatches } from "@aether/chain";
import type { Logger } from "@aether/telemetry";
import { auditStream, auditSubject } from "./audit-stream.ts";
import { type MirrorFiles, openMirrorFiles } from "./mirror-files.ts";
import { listSegments, type Segment } from "./segments.ts";

const retryMs = 1000;
/** Between two writes: many records share one. */
const gatherMs = 100;
/** How long the end waits for what is stored and not mirrored yet; the next start takes the rest. */
const lastMs = 1000;

export interface MirrorOptions {
  bus: Bus;
  folder: string;
  segmentsDir: string;
  /** What all of it may take; nothing is mirrored where that is nothing. */
  maxBytes: number;
  log: Logger;
}

export interface Mirror extends AsyncDisposable {
  /** Why it does not go on; null where it does. */
  readonly error: string | null;
}

/** Starts mirroring; what is missing of the log comes first. */
export function startMirror(options: MirrorOptions): Mirror {
  const ended = new AbortController();
  const state = { error: null as string | null, tail: null as AsyncDisposable | null, sequence: 0 };
  /** Does it again until it is done: nothing may be left out. */
  const persist = async <T>(act: () => Promise<T>): Promise<T | null> => {
    while (!ended.signal.aborted) {
      try {
        const done = await act();
        state.error = null;
        return done;
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        if (state.error !== message) options.log.error({ err: error }, "the audit log cannot be mirrored");
        state.error = message;
        await setTimeout(retryMs, undefined, { signal: ended.signal }).catch(() => {});
      }
    }
    return null;
  };
  const start = async () => {
    const opened = await persist(() => catchUp(options, ended.signal));
    if (!opened) return;
    state.tail = startTail(options.bus, {
      ...{ stream: auditStream, subject: auditSubject, from: opened.from, gatherMs },
      async onMessages(messages) {
        const texts = messages.flatMap(({ data }) => (data ? [new TextDecoder().decode(data)] : []));
        await persist(() => opened.files.write(texts.flatMap((text) => text.split("\n"))));
        state.sequence = messages.at(-1)?.sequence ?? state.sequence;
      },
    });
  };
  const starting = options.maxBytes > 0 ? start() : Promise.resolve();
  return {
    get error() {
      return state.error;
    },
    async [Symbol.asyncDispose]() {
      await finish(options, state);
      ended.abort();
      await starting;
      await state.tail?.[Symbol.asyncDispose]();
    },
  };
}

/** Waits a moment for the last records; never for a disk that is full. */
async function finish({ bus, maxBytes }: MirrorOptions, state: { error: string | null; sequence: number }) {
  const giveUpAt = performance.now() + lastMs;
  const last = maxBytes > 0 && bus.connected ? await streamState(bus, auditStream).catch(() => null) : null;
  while (last && state.sequence < last.lastSequence && !state.error && performance.now() < giveUpAt)
    await setTimeout(10);
}

/** Writes what segments hold and the mirror lacks; answers from which message of the stream it goes on. */
async function catchUp(
  { bus, folder, segmentsDir, maxBytes }: MirrorOptions,
  ended: AbortSignal,
): Promise<{ files: MirrorFiles; from: number }> {
  const files = await openMirrorFiles(folder, maxBytes);
  const segments = await listSegments(segmentsDir);
  for (const { file } of lacking(segments, files.end?.seq ?? 0, maxBytes)) {
    for await (const lines of readBatches(file)) {
      if (ended.aborted) break;
      await files.write(lines);
    }
  }
  const { created } = await streamState(bus, auditStream);
  const newest = segments.at(-1)?.seal.stream;
  return { files, from: newest?.created === created ? newest.sequence + 1 : 1 };
}

/** The segments that hold more than was mirrored; of very many only the newest that would not be rotated away again. */
function lacking(segments: readonly Segment[], seq: number, maxBytes: number): Segment[] {
  const wanted: Segment[] = [];
  let bytes = 0;
  for (const segment of segments.toReversed()) {
    if (segment.seal.last_seq <= seq || bytes > maxBytes) break;
    wanted.unshift(segment);
    bytes += segment.seal.bytes;
  }
  return wanted;
}
