// The events service on a real nats-server, a policy that lets operators see everything and members their own, and a writer that
// takes records of jobs through their transitions as the jobs service does.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type Bus, handler, openBucket, request, seedFile, serve, startTail, streamState } from "@aether/bus";
import {
  CloudEvent,
  createId,
  decide,
  type EventInput,
  type EventPage,
  emitEvent,
  type Principal,
  principalName,
  type Reply,
  readEvents,
} from "@aether/contracts";
import { captureLog, startNats, type TestNats, tempDir, waitFor } from "@aether/testkit";
import { z } from "zod";
import { EventsConfig, startEvents } from "../src/index.ts";

export const ada: Principal = { type: "User", id: "1000", roles: ["member"] };
export const ben: Principal = { type: "User", id: "1001", roles: ["member"] };
export const operator: Principal = { type: "User", id: "0", roles: ["operator"] };
export const path = ["queued", "starting", "running", "succeeded"] as const;

export interface Room extends AsyncDisposable {
  nats: TestNats;
  gateway: Bus;
  jobs: Bus;
  start(): ReturnType<typeof startEvents>;
  startProcess(): ChildProcess;
  emit(event: Partial<EventInput>, as?: Principal, more?: { intentId?: string }): Promise<Reply<typeof emitEvent>>;
  page(input: z.input<typeof readEvents.request>, as?: Principal): Promise<{ reply: EventPage; events: CloudEvent[] }>;
  /** Every event there is, page by page. */
  read(input?: z.input<typeof readEvents.request>, as?: Principal): Promise<CloudEvent[]>;
}

export async function openRoom(options: { storeBytes?: number } = {}): Promise<Room> {
  const stack = new AsyncDisposableStack();
  const nats = stack.use(await startNats(options));
  const folder = stack.use(tempDir());
  const gateway = stack.use(await nats.connect("gateway"));
  const jobs = stack.use(await nats.connect("jobs"));
  stack.use(await servePolicy(stack.use(await nats.connect("policy"))));
  const environment = {
    AETHER_NATS_URL: nats.url,
    AETHER_EVENTS_SEED_FILE: seedFile(nats.keysDir, "events"),
    AETHER_EVENTS_VIEW_FILE: join(folder.path, "events.sqlite"),
  };
  const envelope = (principal: Principal, intentId?: string) => ({
    principal,
    request_id: createId("req"),
    ...(intentId !== undefined && { intent_id: intentId }),
  });
  const page: Room["page"] = async (input, as = operator) => {
    const { reply, bytes } = await request(gateway, readEvents, input, { envelope: envelope(as) });
    const lines = new TextDecoder().decode(bytes).split("\n").filter(Boolean);
    return { reply, events: lines.map((line) => CloudEvent.parse(JSON.parse(line))) };
  };
  return {
    ...{ nats, gateway, jobs, page },
    start: () => startEvents(EventsConfig.parse(environment), captureLog()),
    startProcess() {
      const main = join(import.meta.dirname, "../src/main.ts");
      const env = { ...environment, AETHER_LOG_FILE: join(folder.path, "events.log") };
      return spawn(process.execPath, [main], { stdio: ["ignore", "ignore", "inherit"], env });
    },
    async emit(event, as = ada, more = {}) {
      const input = { specversion: "1.0" as const, id: createId("req"), type: "com.example.test", ...event };
      return (
        await request(gateway, emitEvent, input as z.input<typeof emitEvent.request>, {
          envelope: envelope(as, more.intentId),
        })
      ).reply;
    },
    async read(input = {}, as = operator) {
      const found: CloudEvent[] = [];
      for (let place = input; ; ) {
        const { reply, events } = await page(place, as);
        found.push(...events);
        if (reply.after >= reply.until) return found;
        place = { ...input, tail: undefined, since_ms: undefined, after: reply.after, until: reply.until };
      }
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function servePolicy(bus: Bus): Promise<AsyncDisposable> {
  return serve(bus, {
    service: "policy",
    version: "0",
    description: "lets operators see everything, members their own",
    handlers: [
      handler(decide, {
        async handle({ principal, resource, action }) {
          const isOperator = principal.roles.includes("operator");
          const own = resource.owner === principalName(principal) && principal.roles.length > 0;
          const answer = { decision_id: null, reason: "as scripted", policies: ["scripted"], policy_version: "v" };
          const outcome = own || (isOperator && action === "read_events") ? ("allow" as const) : ("deny" as const);
          return {
            ...answer,
            outcome,
            approval_id: null,
            visible: true,
            scope: isOperator ? ("all" as const) : ("own" as const),
          };
        },
      }),
    ],
  });
}

export async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
  return child.exitCode;
}

/** Writes the next transition of a job each time it is asked, as the jobs service does. */
export function createWriter(bus: Bus, fields: { owner?: string; intent_id?: string } = {}) {
  const bucket = openBucket(bus, "jobs", z.unknown());
  const transitions = new Map<string, object[]>();
  const revisions = new Map<string, number[]>();
  return {
    revisions,
    async next(id: string): Promise<void> {
      const [before = [], written = []] = [transitions.get(id), revisions.get(id)];
      const after = written.at(-1) ?? 0;
      const step = {
        ...{ from: path[before.length - 1] ?? null, to: path[before.length], reason: null, attempt: 1, after },
        at: new Date().toISOString(),
      };
      const all = [...before, step];
      const record = { id, owner: "user:1000", intent_id: null, exit_code: 0, ...fields, transitions: all };
      const revision = await (after === 0 ? bucket.create(id, record) : bucket.update(id, record, after));
      transitions.set(id, all);
      revisions.set(id, [...written, revision]);
    },
  };
}

/** Takes all jobs through all their transitions, some at a time. */
export async function writeAll(
  steps: ReturnType<typeof createWriter>,
  ids: readonly string[],
  atOnce = 4,
): Promise<void> {
  const open = [...ids];
  while (open.length > 0) {
    const some = open.splice(0, atOnce);
    await Promise.all(some.map((id) => steps.next(id)));
    open.push(...some.filter((id) => (steps.revisions.get(id)?.length ?? 0) < path.length));
  }
}

/** Every event as it lies in the stream, without the service. */
export async function storedEvents(nats: TestNats): Promise<CloudEvent[]> {
  await using bus = await nats.connect("events");
  const { lastSequence } = await streamState(bus, "EVENTS");
  const events: CloudEvent[] = [];
  let read = 0;
  await using _tail = startTail(bus, {
    ...{ stream: "EVENTS", subject: "aether.events.v0.>", from: 1 },
    onMessages(messages) {
      for (const { data, sequence } of messages) {
        const event = JSON.parse(new TextDecoder().decode(data ?? new Uint8Array(0)));
        events.push(CloudEvent.parse({ ...event, sequence: String(sequence) }));
        read = sequence;
      }
    },
  });
  await waitFor("the stream of events to be read", () => read >= lastSequence);
  return events;
}
