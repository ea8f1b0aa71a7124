// The HTTP API as OpenAPI 3.1, made from the operations: the gateway routes and the client read the same values, so the
// document cannot say anything else. Schemas with a name become components; everything else stands where it is used.
import { z } from "zod";
import { Approval, Grant } from "./approvals.ts";
import { Artifact } from "./artifacts.ts";
import type { Operation } from "./define.ts";
import { CloudEvent, EventFrame, EventInput, readEvents } from "./events.ts";
import { type Example, examples, problemExample } from "./examples.ts";
import { Job, readLogs } from "./jobs.ts";
import { LogFrame } from "./logs.ts";
import { Citation, MemoryEntry, MemoryHit, NewEntry } from "./memory.ts";
import { operations } from "./operations.ts";
import { AuditRecord, PolicyEntry } from "./policy.ts";
import { Decision, Problem, type ProblemSlug, problems } from "./problem.ts";
import { querySchema } from "./query.ts";
import { JobSpec } from "./spec.ts";
import { Health, Metrics, ServiceHealth, systemRoutes, Version } from "./system.ts";
import { Token } from "./tokens.ts";

type Json = Record<string, unknown>;
type Direction = "input" | "output";

const named = {
  ...{ Approval, Artifact, Grant, Job, JobSpec, LogFrame, AuditRecord, MemoryEntry, MemoryHit, NewEntry, Citation },
  ...{
    CloudEvent,
    EventFrame,
    EventInput,
    PolicyEntry,
    Token,
    Problem,
    Decision,
    Health,
    Metrics,
    ServiceHealth,
    Version,
  },
};

/** What any route may answer beside its own problems. */
const always: readonly ProblemSlug[] = [
  ...(["invalid-request", "token-refused", "origin-refused", "internal-error", "unavailable"] as const),
];
const withBody: readonly ProblemSlug[] = ["too-large", "unsupported-media-type"];

const headers = {
  "Idempotency-Key": "The same key and body within 24 h give the first answer again",
  "Aether-Intent-Id": "The intent that this call belongs to",
  traceparent: "W3C trace context",
};

/** What else the routes of bytes look at. */
const transferHeaders: Partial<Record<Operation["kind"], Record<string, string>>> = {
  upload: { "Content-Digest": "`sha-256=:…:` (RFC 9530): other bytes are refused" },
  download: {
    Range: "`bytes=first-last`, one range: 206 with these bytes",
    "If-Range": "The range only while the ETag is this one",
    "If-None-Match": "304 where the ETag is among these",
  },
};

/** Bytes as they are, of any type. */
const bytes = { "*/*": { schema: { type: "string", format: "binary" } } };

/** The document; a plain JSON value. */
export function createOpenApi(version: string): Json {
  const components: Json = {};
  const paths: Record<string, Json> = {};
  const add = (path: string, method: string, operation: Json) => {
    paths[`/v0${path}`] = { ...paths[`/v0${path}`], [method.toLowerCase()]: operation };
  };
  for (const operation of operations) {
    if (operation.http) add(operation.http.path, operation.http.method, toOperation(operation, components));
  }
  for (const { method, path, summary, reply } of systemRoutes) {
    const content = {
      "application/json": { schema: convert(reply, "output", components), ...exampleOf(examples[path]?.reply) },
    };
    add(path, method, {
      operationId: `gateway.${path.slice(1).replace(".json", "")}`,
      summary,
      tags: ["gateway"],
      responses: { 200: { description: "As asked", content }, ...problemResponses(always) },
    });
  }
  convert(Problem, "output", components);
  return {
    openapi: "3.1.0",
    info: {
      title: "Aether",
      version,
      summary: "Durable, sandboxed, audited jobs over a unix socket",
      license: { name: "Apache-2.0" },
    },
    servers: [{ url: "http://aether", description: "Over the unix socket; the caller is who opened it" }],
    paths,
    // Without one the caller may do what policies let him; with one, at most what it names of that.
    security: [{}, { capability: [] }],
    components: {
      schemas: components,
      securitySchemes: { capability: { type: "http", scheme: "bearer", bearerFormat: "JWT" } },
    },
  };
}

function toOperation(operation: Operation, components: Json): Json {
  const example: Example = examples[operation.name] ?? { reply: undefined };
  const isPost = operation.http?.method === "POST";
  const isUpload = operation.kind === "upload";
  const status = operation.http?.status ?? 200;
  return {
    operationId: operation.name,
    summary: operation.summary,
    tags: [operation.name.split(".")[0]],
    parameters: parametersOf(operation, example, components),
    ...(isPost && { requestBody: bodyOf(operation, example, components) }),
    ...(isUpload && { requestBody: { required: true, content: bytes } }),
    responses: {
      [status]: { description: "As asked", ...locationOf(operation), content: replyOf(operation, example, components) },
      ...(status === 202 && {
        200: { description: "It had ended already", content: replyOf(operation, { reply: undefined }, components) },
      }),
      ...problemResponses([...always, ...(isPost ? withBody : []), ...operation.problems]),
    },
  };
}

function parametersOf(operation: Operation, example: Example, components: Json): Json[] {
  const path = operation.http?.path ?? "";
  const isPost = operation.http?.method === "POST";
  const fromPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => ({
    name,
    in: "path",
    required: true,
    schema: convert(fieldOf(operation.request, name), "input", components),
    ...exampleOf(example.params?.[name]),
  }));
  const fromQuery = Object.entries(querySchema(operation).shape).map(([name, field]) => ({
    name,
    in: "query",
    schema: convert(field, "input", components),
    ...exampleOf(example.query?.[name]),
  }));
  const fromHeaders = Object.entries({ ...headers, ...transferHeaders[operation.kind] })
    .filter(([name]) => name !== "Idempotency-Key" || isPost || operation.creates)
    .map(([name, description]) => ({ name, in: "header", description, schema: { type: "string" } }));
  return [...fromPath, ...fromQuery, ...fromHeaders];
}

function bodyOf(operation: Operation, example: Example, components: Json): Json {
  const names = [...(operation.http?.path ?? "").matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => name);
  const { request } = operation;
  const schema = request instanceof z.ZodObject && names.length > 0 ? withoutFields(request, names) : request;
  return {
    required: !schema.safeParse({}).success,
    content: { "application/json": { schema: convert(schema, "input", components), ...exampleOf(example.body) } },
  };
}

function replyOf(operation: Operation, example: Example, components: Json): Json {
  if (operation.name === readEvents.name) return streamOf(EventFrame, example, components);
  if (operation.kind === "download") return bytes;
  if (operation.name !== readLogs.name) {
    return {
      "application/json": {
        schema: convert(operation.http?.reply ?? operation.reply, "output", components),
        ...exampleOf(example.reply),
      },
    };
  }
  return {
    ...streamOf(LogFrame, example, components),
    "application/octet-stream": { schema: { type: "string", format: "binary" } },
  };
}

/** What is answered a line at a time. */
function streamOf(frame: z.ZodType, example: Example, components: Json): Json {
  const first = Array.isArray(example.reply) ? example.reply[0] : undefined;
  return {
    "application/x-ndjson": { schema: convert(frame, "output", components), ...exampleOf(first) },
    "text/event-stream": { schema: { type: "string" } },
  };
}

function locationOf(operation: Operation): Json {
  return operation.creates
    ? { headers: { Location: { description: "Where it can be read", schema: { type: "string" } } } }
    : {};
}

function problemResponses(slugs: readonly ProblemSlug[]): Json {
  const byStatus = Map.groupBy(new Set(slugs), (slug) => problems[slug].status);
  const content = { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } };
  return Object.fromEntries(
    [...byStatus].map(([status, found]) => [
      status,
      {
        description: found.map((slug) => `\`${slug}\`: ${problems[slug].title}`).join("; "),
        content:
          status === 400
            ? { "application/problem+json": { ...content["application/problem+json"], example: problemExample } }
            : content,
      },
    ]),
  );
}

/** The JSON Schema of a use; named schemas within it move to the components, as they are sent (`…Input`) or answered. */
function convert(schema: z.core.$ZodType, direction: Direction, components: Json): Json {
  const registry = z.registry<{ id?: string; description?: string }>();
  for (const [id, one] of Object.entries(named))
    registry.add(one, { ...descriptionOf(one), id: direction === "input" ? `${id}Input` : id });
  const {
    $schema: _schema,
    $defs,
    ...json
  } = z.toJSONSchema(schema, {
    io: direction,
    target: "draft-2020-12",
    metadata: registry,
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema }) => {
      Object.assign(jsonSchema, descriptionOf(zodSchema));
      // Answers may grow fields; requests may not.
      if (direction === "output" && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      if (jsonSchema.format === "date-time") delete jsonSchema.pattern;
    },
  });
  for (const [id, definition] of Object.entries($defs ?? {}))
    components[id] = relocate({ ...definition, id: undefined });
  const { id, ...body } = relocate(json);
  if (typeof id !== "string") return body;
  components[id] = body;
  return { $ref: `#/components/schemas/${id}` };
}

function relocate(json: object): Json {
  return JSON.parse(JSON.stringify(json).replaceAll('"#/$defs/', '"#/components/schemas/'));
}

function descriptionOf(schema: z.core.$ZodType): { description?: string } {
  const description = z.globalRegistry.get(schema)?.description;
  return description === undefined ? {} : { description };
}

function withoutFields(schema: z.ZodObject, names: readonly string[]): z.ZodObject {
  return z.strictObject(Object.fromEntries(Object.entries(schema.shape).filter(([name]) => !names.includes(name))));
}

function fieldOf(schema: z.ZodType, name: string): z.core.$ZodType {
  return (schema instanceof z.ZodObject ? schema.shape[name] : undefined) ?? z.string();
}

function exampleOf(example: unknown): Json {
  return example === undefined ? {} : { example };
}
