// Derives the events of one source, each exactly once. Nothing publishes an event beside a state change: the state's own stream
// is followed, so a change without its event cannot be, whoever dies when.
//
// - EVENTS itself says what is there. The newest event of a thing carries the revision it was made from, and every append
//   names the event that must be before it: the same event cannot be stored twice, by one instance or by several.
// - Messages are worked on a batch at a time, the things in it side by side, each thing's own in order. Every event carries the
//   position before its batch, up to which all is told; a start reads it from the newest one and goes on there.
// - A bucket keeps only the newest record, which carries its transitions: what was skipped between two messages is told from it.
// - What is older than EVENTS keeps is not told: it would be after a quiet week, when the stream is empty.
import { appendMessage, type Bus, lastMessage, RevisionConflict, startTail, type TailMessage } from "@aether/bus";
import { limits } from "@aether/contracts";
import type { Change, Happening, Source } from "./source.ts";
import { headerNames, stream, systemSubject } from "./stored-event.ts";

const lanes = 64;

export interface Deriver extends AsyncDisposable {
  /** Waits until all is told that the source holds now; false when the time is up. */
  catchUp(timeoutMs: number): Promise<boolean>;
  /** Sequence in the source up to which all is told. */
  readonly position: number;
}

/** The newest event of a thing: its place in EVENTS, 0 for none, and the revision it was made from. */
interface Told {
  sequence: number;
  revision: number;
}

const nothing: Told = { sequence: 0, revision: 0 };

/** Starts following the source; resolves when it is known where to go on. */
export async function startDeriver(bus: Bus, source: Source, onStored: () => void = () => {}): Promise<Deriver> {
  const state = { position: await findPosition(bus, source) };
  /** Only of things to which more is to happen soon. */
  const open = new Map<string, Told>();
  const waiting = new Set<() => void>();
  const tail = startTail(bus, {
    ...source,
    from: state.position + 1,
    async onMessages(messages) {
      const chains = Map.groupBy(toChanges(bus, source, messages), ({ key }) => key);
      await inLanes([...chains], async ([key, changes]) => {
        const told = await tell(bus, { source, position: state.position, onStored }, changes, open.get(key) ?? nothing);
        if (changes.at(-1)?.isOpen) open.set(key, told);
        else open.delete(key);
      });
      state.position = messages.at(-1)?.sequence ?? state.position;
      for (const check of waiting) check();
    },
  });
  return {
    get position() {
      return state.position;
    },
    async catchUp(timeoutMs) {
      const newest = (await lastMessage(bus, source.stream, source.subject))?.sequence ?? 0;
      return reach(waiting, () => state.position >= newest, timeoutMs);
    },
    [Symbol.asyncDispose]: () => tail[Symbol.asyncDispose](),
  };
}

/** Up to where all of the source is told; the stream's beginning where it was made anew. */
async function findPosition(bus: Bus, source: Source): Promise<number> {
  const newest = await lastMessage(bus, stream, systemSubject(source.name, "*"));
  const position = Number(newest?.header(headerNames.position) ?? 0);
  const { state } = await bus.jsm.streams.info(source.stream);
  if (position <= state.last_seq) return position;
  bus.log.warn({ stream: source.stream }, "the stream was made anew: events are derived from its beginning");
  return 0;
}

function toChanges(bus: Bus, source: Source, messages: readonly TailMessage[]): Change[] {
  return messages.flatMap((message) => {
    try {
      return source.read(message) ?? [];
    } catch (error) {
      // Nobody could read it the next time either, and what comes after it must not wait for ever.
      bus.log.error({ err: error, stream: source.stream, sequence: message.sequence }, "no events can be derived");
      return [];
    }
  });
}

interface Telling {
  source: Source;
  position: number;
  onStored(): void;
}

/** Appends what is not told yet of one thing; answers its newest event. A conflict says that some of it is. */
async function tell(bus: Bus, telling: Telling, changes: readonly Change[], known: Told): Promise<Told> {
  let told = known;
  const oldest = new Date(Date.now() - limits.eventsRetentionMs).toISOString();
  for (const change of changes) {
    const subject = systemSubject(telling.source.name, change.key);
    for (const happening of change.happenings) {
      if (happening.revision <= told.revision || happening.time < oldest) continue;
      try {
        told = await append(bus, telling, subject, change, happening, told);
        telling.onStored();
      } catch (error) {
        if (!(error instanceof RevisionConflict)) throw error;
        told = await newestOf(bus, subject);
        if (happening.revision <= told.revision) continue;
        told = await append(bus, telling, subject, change, happening, told);
        telling.onStored();
      }
    }
  }
  return told;
}

async function append(
  bus: Bus,
  { source, position }: Telling,
  subject: string,
  change: Change,
  happening: Happening,
  told: Told,
): Promise<Told> {
  const { revision } = happening;
  const data = new TextEncoder().encode(JSON.stringify(toCloudEvent(source, change, happening)));
  const sequence = await appendMessage(bus, subject, data, told.sequence, {
    headers: {
      "Content-Type": "application/cloudevents+json",
      [headerNames.owner]: change.owner,
      [headerNames.revision]: String(revision),
      [headerNames.position]: String(position),
    },
  });
  return { sequence, revision };
}

async function newestOf(bus: Bus, subject: string): Promise<Told> {
  const newest = await lastMessage(bus, stream, subject);
  return newest ? { sequence: newest.sequence, revision: Number(newest.header(headerNames.revision)) } : nothing;
}

function toCloudEvent(source: Source, change: Change, { revision, type, time, data }: Happening): object {
  return {
    specversion: "1.0",
    id: `${source.stream}:${revision}`,
    source: `/system/${source.name}`,
    type,
    subject: change.key,
    time,
    datacontenttype: "application/json",
    ...(change.intentId !== null && { intentid: change.intentId }),
    ...(change.jobId !== null && { jobid: change.jobId }),
    ...(change.traceparent !== null && { traceparent: change.traceparent }),
    data,
  };
}

/** Works on all items, so many at a time; waits for those that run before it fails. */
async function inLanes<T>(items: T[], work: (item: T) => Promise<void>): Promise<void> {
  const lane = async () => {
    for (let item = items.shift(); item !== undefined; item = items.shift()) await work(item);
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.min(lanes, items.length) }, lane));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}

function reach(waiting: Set<() => void>, isReached: () => boolean, timeoutMs: number): Promise<boolean> {
  if (isReached()) return Promise.resolve(true);
  return new Promise((resolve) => {
    const end = (reached: boolean) => {
      clearTimeout(timer);
      waiting.delete(check);
      resolve(reached);
    };
    const check = () => isReached() && end(true);
    const timer = setTimeout(() => end(false), timeoutMs);
    waiting.add(check);
  });
}
