// Events: CloudEvents 1.0 (https://github.com/cloudevents/spec) in their JSON form, stored and answered as they are.
//
// Who made an event is never its sender's word. What the system says has a `source` below `/system/`; what a user says has
// one below his own principal, put in front of whatever he wrote there. Types below `dev.aether.` and the attribute
// `sequence` are the system's alone.
import { z } from "zod";
import { defineOperation } from "./define.ts";
import { IntentId, JobId } from "./ids.ts";
import { limits } from "./limits.ts";
import { durationSchema } from "./units.ts";

const systemTypes = "dev.aether.";
const reservedNames: readonly string[] = ["sequence"];
const ownNames: readonly string[] = ["data_base64"];

/** A CloudEvents String: Unicode without control characters and halves of characters. */
const attribute = (maxChars: number) =>
  z
    .string()
    .min(1)
    .max(maxChars)
    .refine((text) => text.isWellFormed() && !/\p{Cc}/u.test(text), "must be text without control characters");

const uriReference = attribute(256).regex(/^[\w.~:/?#[\]@!$&'()*+,;=%-]+$/, "must be a URI reference");

const Extension = z.union([attribute(1024), z.int32(), z.boolean()]).nullable();

/** What is posted. Attributes that are null are as if they were not there. */
export const EventInput = z
  .object({
    specversion: z.literal("1.0"),
    id: attribute(256).describe("Names the event together with `source`; the same again is stored once"),
    source: uriReference
      .refine((source) => !/(^|\/|%2f)(\.|%2e){1,2}([/?#]|%2f|$)/i.test(source), "must not hold `.` or `..` as a step")
      .nullish()
      .describe("What of the caller's says it; stored below `/user/<uid>/`"),
    type: attribute(256)
      .refine((type) => !type.startsWith(systemTypes), `types below ${systemTypes} are the system's own`)
      .describe("What happened, best with a reversed domain name in front"),
    subject: attribute(256).nullish().describe("What it happened to"),
    time: z.iso.datetime({ offset: true }).nullish().describe("When; the time of its coming where absent"),
    datacontenttype: attribute(128).nullish().describe("Media type of `data`; JSON where absent"),
    dataschema: attribute(512).nullish().describe("URI of the schema that `data` holds to"),
    data: z.unknown().optional().describe("Any JSON value"),
    data_base64: z.base64().nullish().describe("Bytes instead of `data`"),
    intentid: IntentId.nullish().describe("The intent it belongs to; the call's own where absent"),
    jobid: JobId.nullish().describe("The job it is about"),
    traceparent: z
      .string()
      .regex(/^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/)
      .nullish()
      .describe("W3C trace context; the call's own where absent"),
  })
  .catchall(Extension)
  .check((context) => {
    const refuse = (path: string[], message: string) =>
      context.issues.push({ code: "custom", path, message, input: context.value });
    for (const name of Object.keys(context.value)) {
      if (reservedNames.includes(name)) refuse([name], "is set by the system");
      else if (!/^[a-z0-9]{1,20}$/.test(name) && !ownNames.includes(name))
        refuse([name], "an attribute's name is 1 to 20 lower-case letters and digits");
    }
    if (context.value.data !== undefined && context.value.data_base64 != null) {
      refuse(["data_base64"], "not together with data");
    }
    if (JSON.stringify(context.value).length > limits.eventBytes) {
      refuse([], `an event may take ${limits.eventBytes} bytes`);
    }
  });
/** Its extensions have any names, which the schema judges. */
export type EventInput = Record<string, unknown> & {
  specversion: "1.0";
  id: string;
  type: string;
  source?: string | null | undefined;
};

/** An event as it is stored and answered. */
export const CloudEvent = z.looseObject({
  specversion: z.literal("1.0"),
  id: z.string(),
  source: z.string().describe("Who says it: `/system/jobs`, `/user/1000`, `/user/1000/ci`"),
  type: z.string(),
  subject: z.string().optional(),
  time: z.string().optional().describe("RFC 3339"),
  datacontenttype: z.string().optional(),
  data: z.unknown().optional(),
  intentid: z.string().optional(),
  jobid: z.string().optional(),
  traceparent: z.string().optional(),
  sequence: z.string().describe("Its place in the stream, for `after`; sorts as text too"),
});
export type CloudEvent = z.infer<typeof CloudEvent>;

/** One line of the answer of `GET /v0/events`. */
export const EventFrame = z.union([
  CloudEvent,
  z.object({ type: z.literal("heartbeat"), after: z.int().describe("Nothing that was asked for came up to here") }),
  z.object({ type: z.literal("error"), problem: z.looseObject({ title: z.string(), status: z.int() }) }),
]);
export type EventFrame = z.infer<typeof EventFrame>;

const filters = {
  type: z
    .array(z.string().min(1).max(256))
    .max(16)
    .optional()
    .describe("Only these types; one that ends with a dot stands for all that begin so"),
  intent_id: IntentId.optional().describe("Only those of this intent"),
  job_id: JobId.optional().describe("Only those about this job"),
  source: z
    .string()
    .min(1)
    .max(512)
    .optional()
    .describe("Only those from this source or one below it: `/system/jobs`, `/user/1000`"),
};
const after = z.int().min(0);
const tail = z.int().min(0).max(limits.eventsTailMax);

/** Query of `GET /v0/events`. */
export const EventQuery = z.strictObject({
  ...filters,
  follow: z.stringbool().default(false).describe("Go on with what comes"),
  after: after.optional().describe("Only events with a greater sequence"),
  tail: tail.optional().describe("Only the last N, of the newest 100,000 that are stored; not with `after`"),
  since: z
    .union([durationSchema(0, limits.eventsRetentionMs), z.iso.datetime({ offset: true })])
    .optional()
    .describe("Only what was stored within this duration, or after this time"),
  limit: z.int().min(1).optional().describe("No more than N events"),
  format: z.enum(["ndjson", "sse"]).default("ndjson"),
});
export type EventQuery = z.infer<typeof EventQuery>;

/** One page of events, asked by the gateway. */
export const EventReadRequest = z.strictObject({
  ...filters,
  after: after.default(0),
  tail: tail.optional(),
  since_ms: z.int().optional().describe("Milliseconds since the epoch"),
  until: after.optional().describe("No event with a greater sequence; without it, what is stored now"),
  limit: z.int().min(1).max(limits.pageMax).default(limits.pageMax),
  wait_ms: z.int().min(0).max(limits.followHeartbeatMs).default(0),
});
export type EventReadRequest = z.infer<typeof EventReadRequest>;

/** Its bytes are the events, one JSON document a line. */
export const EventPage = z.object({
  sequences: z.array(z.int()).describe("Of the events in the page, in order"),
  after: z.int().describe("Give back as `after` for the next page; moves also where nothing was found"),
  until: z.int().describe("What was stored when this was asked; the same for the next page"),
});
export type EventPage = z.infer<typeof EventPage>;

export const emitEvent = defineOperation({
  name: "events.emit",
  kind: "unary",
  summary: "Store an event of one's own",
  http: { method: "POST", path: "/events", status: 200, maxBytes: limits.eventBytes },
  request: EventInput,
  reply: CloudEvent,
  problems: ["invalid-request", "policy-denied", "conflict", "too-large", "too-many-requests", "audit-unavailable"],
  access: { action: "emit_event", resource: "Events", owner: "caller", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

export const readEvents = defineOperation({
  name: "events.read",
  kind: "pages",
  summary: "Read or follow events, oldest first",
  http: { method: "GET", path: "/events", status: 200, query: EventQuery },
  request: EventReadRequest,
  reply: EventPage,
  bytes: "reply",
  problems: ["invalid-request", "policy-denied"],
  access: { action: "read_events", resource: "Events", owner: "caller", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});
