// Bad requests against the whole system: each is answered by a problem document of the right status, and changes nothing.
// A job that no worker takes stands by, so that what a refused stop or kill would have changed would show.
import { connect } from "node:net";
import { createId, limits, Problem } from "@aether/contracts";
import { readText, requestUnix } from "@aether/http";
import { requireBackend } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";

interface BadRequest {
  method?: string;
  path?: string;
  headers?: Record<string, string>;
  /** Sent as JSON, unless it is text or bytes. */
  body?: unknown;
  /** Instead of all that: bytes for the connection. */
  raw?: string | Buffer;
  status: number;
}

const unknownJob = createId("job");
const unknownEntry = createId("mem");
const unknownApproval = createId("apr");
const anAnswer = { option: "allow_once", digest: `sha256:${"0".repeat(64)}` };
const answer = (body: object, status = 400): BadRequest => ({
  path: `/v0/approvals/${unknownApproval}/answer`,
  body,
  status,
});
const secret = (body: object, status = 400): BadRequest => ({
  method: "PUT",
  path: "/v0/approvals/secret",
  body,
  status,
});
const note = (fields: object): BadRequest => ({
  path: "/v0/memory/entries",
  body: { kind: "note", text: "a", ...fields },
  status: 400,
});
const valid = { command: ["true"] };
const event = { specversion: "1.0", id: "1", type: "com.example.test" };
const spec = (fields: object): BadRequest => ({ body: { ...valid, ...fields }, status: 400 });
const get = (path: string, status = 400): BadRequest => ({ method: "GET", path, status });
const post = (path: string, body: unknown, status = 400): BadRequest => ({ path, body, status });
const put = (path: string, status = 400): BadRequest => ({ method: "PUT", path, body: "x", status });
const text = (body: string | Buffer, status = 400): BadRequest => ({ body, status });
const raw = (bytes: string | Buffer, status: number): BadRequest => ({ raw: bytes, status });
const head = (line: string, headers = "") => `${line}\r\nHost: aether\r\n${headers}Connection: close\r\n\r\n`;

const requests: Record<string, BadRequest> = {
  // Bodies that are no JSON object.
  "an empty body": text(""),
  "broken JSON": text("{"),
  "JSON with something behind it": text("{} {}"),
  "a number as body": text("42"),
  "null as body": text("null"),
  "a list as body": post("/v0/jobs", [valid]),
  "a body that is not UTF-8": text(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])),
  "a body of nested lists": text("[".repeat(100_000)),
  "a body over the maximum": text(JSON.stringify({ ...valid, stdin: "x".repeat(limits.requestBodyBytes) }), 413),
  "chunks over the maximum": raw(
    `${head("POST /v0/jobs HTTP/1.1", "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n")}a0000\r\n${"x".repeat(0xa0000)}\r\n0\r\n\r\n`,
    413,
  ),
  "a form as body": {
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
    body: "command=true",
    status: 415,
  },
  "a compressed body": { headers: { "Content-Encoding": "gzip" }, body: valid, status: 415 },

  // Specs: types.
  "no command": post("/v0/jobs", {}),
  "a command that is a string": spec({ command: "true" }),
  "an empty command": spec({ command: [] }),
  "a command without a program": spec({ command: [""] }),
  "a command of numbers": spec({ command: [1, 2] }),
  "an environment that is a list": spec({ env: ["A=1"] }),
  "an environment of numbers": spec({ env: { A: 1 } }),
  "labels of numbers": spec({ labels: { a: 1 } }),
  "a name that is null bytes long": spec({ name: "" }),
  "stdin that is an object": spec({ stdin: {} }),
  "a priority that is text": spec({ priority: "high" }),
  "a priority that is no whole number": spec({ priority: 1.5 }),
  "cpus that are text": spec({ resources: { cpus: "1" } }),
  "a retry that is a number": spec({ retry: 3 }),

  // Specs: unknown fields, also inside.
  "an unknown field": spec({ colour: "red" }),
  "a field of a later issue": spec({ image: "debian" }),
  "__proto__ as a field": text('{"command":["true"],"__proto__":{"pool":"default"}}'),
  "an unknown resource": spec({ resources: { gpus: { count: 1 } } }),
  "an unknown limit of io": spec({ resources: { io: { iops: 1 } } }),
  "an unknown network mode": spec({ network: { mode: "host" } }),
  "an unknown sandbox driver": spec({ sandbox: { driver: "none" } }),
  "an unknown cause to retry": spec({ retry: { on: ["weather"] } }),

  // Specs: sizes.
  "a command over its maximum": spec({ command: ["echo", "x".repeat(limits.commandBytes)] }),
  "an environment over its maximum": spec({ env: { A: "x".repeat(limits.environmentBytes) } }),
  "stdin over its maximum": spec({ stdin: "x".repeat(limits.stdinBytes + 1) }),
  "too many labels": spec({
    labels: Object.fromEntries(Array.from({ length: limits.labelPairs + 1 }, (_, i) => [`k${i}`, ""])),
  }),
  "a label that is too long": spec({ labels: { a: "x".repeat(limits.labelBytes + 1) } }),
  "a name that is too long": spec({ name: "x".repeat(64) }),
  "a pool that is too long": spec({ pool: "x".repeat(64) }),

  // Specs: limits that are negative, nothing, or absurd.
  "negative cpus": spec({ resources: { cpus: -1 } }),
  "no cpus": spec({ resources: { cpus: 0 } }),
  "endless cpus": text('{"command":["true"],"resources":{"cpus":1e999}}'),
  "negative memory": spec({ resources: { memory: -1 } }),
  "memory in an unknown unit": spec({ resources: { memory: "1 parsec" } }),
  "memory below its minimum": spec({ resources: { memory: "1KiB" } }),
  "memory over its maximum": spec({ resources: { memory: "99999TiB" } }),
  "no processes": spec({ resources: { pids: 0 } }),
  "too many processes": spec({ resources: { pids: limits.pidsMax + 1 } }),
  "a negative disk": spec({ resources: { disk: "-1GiB" } }),
  "a read rate of nothing": spec({ resources: { io: { read_bps: 0 } } }),
  "a timeout of nothing": spec({ timeout: "0s" }),
  "a negative timeout": spec({ timeout: "-5s" }),
  "a timeout without a unit": spec({ timeout: "90" }),
  "a timeout that is a number": spec({ timeout: 90 }),
  "a timeout of a thousand years": spec({ timeout: "365000d" }),
  "a timeout of too many digits": spec({ timeout: "9999999999999999999999s" }),
  "a grace over its maximum": spec({ grace: "1d" }),
  "a priority over its maximum": spec({ priority: 101 }),
  "no attempts": spec({ retry: { max_attempts: 0 } }),
  "a backoff that shrinks": spec({ retry: { backoff: { factor: 0.5 } } }),

  // Specs: what must not reach a path, a process or a log.
  "a working_dir that climbs out": spec({ working_dir: "/workspace/../etc" }),
  "a working_dir elsewhere": spec({ working_dir: "/etc" }),
  "a working_dir that only begins alike": spec({ working_dir: "/workspaces" }),
  "a relative working_dir": spec({ working_dir: "workspace" }),
  "a working_dir with empty steps": spec({ working_dir: "/workspace//x" }),
  "a NUL byte in the command": spec({ command: ["echo", "a\0b"] }),
  "a NUL byte in the environment": spec({ env: { A: "a\0b" } }),
  "a NUL byte in the working_dir": spec({ working_dir: "/workspace/a\0b" }),
  "a NUL byte in a label": spec({ labels: { a: "a\0b" } }),
  "an environment name with an equals sign": spec({ env: { "A=B": "1" } }),
  "a pool with wildcards": spec({ pool: "a.>" }),
  "an intent that is none": spec({ intent_id: "int_1" }),

  // Specs: inputs and outputs.
  "an input that is no artifact": spec({ inputs: [{ artifact: "x", path: "/inputs/a" }] }),
  "an input that is not there": spec({ inputs: [{ artifact: createId("art"), path: "/inputs/a" }] }),
  "an input that climbs out": spec({ inputs: [{ artifact: createId("art"), path: "/inputs/../etc/passwd" }] }),
  "an input elsewhere": spec({ inputs: [{ artifact: createId("art"), path: "/outputs/a" }] }),
  "an input that is a folder": spec({ inputs: [{ artifact: createId("art"), path: "/workspace" }] }),
  "an archive under /inputs": spec({ inputs: [{ artifact: createId("art"), path: "/inputs/a", unpack: true }] }),
  "two inputs in one place": spec({
    inputs: [
      { artifact: createId("art"), path: "/inputs/a" },
      { artifact: createId("art"), path: "/inputs/a" },
    ],
  }),
  "an output that climbs out": spec({ outputs: [{ path: "../../etc/*" }] }),
  "an output elsewhere": spec({ outputs: [{ path: "/etc/*" }] }),
  "an output of a type that is none": spec({ outputs: [{ path: "a", type: "text" }] }),

  // Queries, ids and routes.
  "a wait that is too long": post("/v0/jobs?wait=1h", valid),
  "a wait that is no duration": post("/v0/jobs?wait=soon", valid),
  "a parameter that submit does not know": post("/v0/jobs?dry=1", valid),
  "an unknown parameter": get("/v0/jobs?colour=red"),
  "a state that is none": get("/v0/jobs?state=happy"),
  "a label filter without a value": get("/v0/jobs?label=a"),
  "a limit of nothing": get("/v0/jobs?limit=0"),
  "a limit over its maximum": get("/v0/jobs?limit=501"),
  "a limit that is text": get("/v0/jobs?limit=many"),
  "a limit given twice": get("/v0/jobs?limit=1&limit=2"),
  "a body to a list": { method: "GET", path: "/v0/jobs", body: {}, status: 400 },
  "an id that is none": get("/v0/jobs/1"),
  "an id with wildcards": get("/v0/jobs/%3E"),
  "an id that climbs out": get("/v0/jobs/..%2f..%2fetc%2fpasswd"),
  "an id of another kind": get(`/v0/jobs/${createId("aud")}`),
  "a path that is not percent-encoded": get("/v0/jobs/%zz"),
  "after and tail of a log": get(`/v0/jobs/${unknownJob}/logs?after=1&tail=1`),
  "a negative after": get(`/v0/jobs/${unknownJob}/logs?after=-1`),
  "a stream that is none": get(`/v0/jobs/${unknownJob}/logs?stream=stdin`),
  "a format that is none": get(`/v0/jobs/${unknownJob}/logs?format=xml`),
  "a since that is none": get(`/v0/jobs/${unknownJob}/logs?since=yesterday`),
  "an unknown job": get(`/v0/jobs/${unknownJob}`, 404),
  "the log of an unknown job": get(`/v0/jobs/${unknownJob}/logs?follow=1`, 404),
  "a stop of an unknown job": post(`/v0/jobs/${unknownJob}/stop`, {}, 404),
  "an unknown action": post("/v0/policy/check", { action: "rule_the_world" }),
  "a question about nobody": post("/v0/policy/check", { action: "read_job", as: "root" }),
  "a question with a role that is none": post("/v0/policy/check", { action: "read_job", as: "user:1", roles: ["god"] }),
  "a list of policies of a folder": get("/v0/policy?policies=..%2f..%2fetc"),
  "a token for nothing": post("/v0/tokens", { capabilities: [] }),
  "a token for an unknown action": post("/v0/tokens", { capabilities: [{ actions: ["rule_the_world"] }] }),
  "a token for every action": post("/v0/tokens", { capabilities: [{ actions: ["*"] }] }),
  "a token for a thing that climbs out": post("/v0/tokens", {
    capabilities: [{ actions: ["read_job"], id: `${createId("job")}/../${createId("job")}` }],
  }),
  "a token for things that begin alike": post("/v0/tokens", {
    capabilities: [{ actions: ["read_job"], id: "job_*" }],
  }),
  "a token for an owner that is none": post("/v0/tokens", {
    capabilities: [{ actions: ["read_job"], owner: "user:*:x" }],
  }),
  "a token with too many capabilities": post("/v0/tokens", {
    capabilities: Array.from({ length: 17 }, () => ({ actions: ["read_job"] })),
  }),
  "a token for ever": post("/v0/tokens", { capabilities: [{ actions: ["read_job"] }], ttl: "1d" }),
  "a token for no time": post("/v0/tokens", { capabilities: [{ actions: ["read_job"] }], ttl: "0s" }),
  "a token with a chain of its own": post("/v0/tokens", { capabilities: [{ actions: ["read_job"] }], chain: [] }),
  "a token bound to a user and an agent": post("/v0/tokens", {
    capabilities: [{ actions: ["read_job"] }],
    bind: { uid: 0, agent: "aurora" },
  }),
  "a token bound to a negative uid": post("/v0/tokens", {
    capabilities: [{ actions: ["read_job"] }],
    bind: { uid: -1 },
  }),
  "a token id that is none": get("/v0/tokens/1"),
  "a token by its words": get("/v0/tokens/eyJhbGciOiJFZERTQSJ9.e30.x"),
  "an unknown token": get(`/v0/tokens/${createId("tok")}`, 404),
  "a revocation of an unknown token": { method: "DELETE", path: `/v0/tokens/${createId("tok")}`, status: 404 },
  "an unknown field of verify": post("/v0/audit/verify", { deep: true }),
  "an audit decision that is none": get("/v0/audit?decision=maybe"),
  // Agents.
  "an agent without a name": post("/v0/agents", {}),
  "an agent whose name climbs out": post("/v0/agents", { name: "../aetherd.sock" }),
  "an agent whose name is a folder": post("/v0/agents", { name: "." }),
  "an agent whose name is a path": post("/v0/agents", { name: "a/b" }),
  "an agent whose name is a wildcard": post("/v0/agents", { name: "*" }),
  "an agent whose name ends a line": post("/v0/agents", { name: "a\n" }),
  "an agent whose name is too long": post("/v0/agents", { name: "x".repeat(33) }),
  "an agent of a group": post("/v0/agents", { name: "a", owner: "%wheel" }),
  "an agent of another agent": post("/v0/agents", { name: "a", owner: "agent:b" }),
  "an agent of a uid with a sign": post("/v0/agents", { name: "a", owner: "user:-1" }),
  "an agent with a limit of nothing": post("/v0/agents", { name: "a", limits: { cpus: 0 } }),
  "an agent with an unknown limit": post("/v0/agents", { name: "a", limits: { gpus: 1 } }),
  "an agent with a role": post("/v0/agents", { name: "a", roles: ["operator"] }),
  "an unknown agent": get("/v0/agents/nobody", 404),
  "an agent that is none": get("/v0/agents/..%2f..%2fetc"),
  "a removal of an unknown agent": { method: "DELETE", path: "/v0/agents/nobody", status: 404 },
  "a removal of everything": { method: "DELETE", path: "/v0/agents/*", status: 400 },
  "a job as an unknown agent": spec({ attach: { agent: "nobody" } }),
  "a job as an agent that is none": spec({ attach: { agent: "../../etc" } }),
  "a job with another socket": spec({ attach: { agent: "nobody", socket: "/run/aether/aetherd.sock" } }),
  "a whoami of somebody else": get("/v0/whoami?uid=0"),
  // Artifacts.
  "an artifact without a name": put("/v0/artifacts/content"),
  "an artifact with an empty name": put("/v0/artifacts/content?name="),
  "an artifact whose name climbs out": put("/v0/artifacts/content?name=..%2f..%2fetc%2fpasswd"),
  "an artifact called ..": put("/v0/artifacts/content?name=.."),
  "an artifact with a line end in its name": put("/v0/artifacts/content?name=a%0d%0aSet-Cookie:%20x"),
  "an artifact whose name turns text around": put("/v0/artifacts/content?name=a%e2%80%aetxt"),
  "an artifact whose name is too long": put(`/v0/artifacts/content?name=${"x".repeat(256)}`),
  "an artifact of a type that is none": put("/v0/artifacts/content?name=a&type=text"),
  "an artifact whose type is a header": put("/v0/artifacts/content?name=a&type=text/plain%0d%0aX:%20y"),
  "an artifact of a job that is none": put("/v0/artifacts/content?name=a&job_id=1"),
  "an artifact with a label that is no pair": put("/v0/artifacts/content?name=a&label=x"),
  "an artifact with a bad label": put("/v0/artifacts/content?name=a&label=%2e%2e/=x"),
  "an artifact with an unknown parameter": put("/v0/artifacts/content?name=a&owner=user:0"),
  "a compressed artifact": { ...put("/v0/artifacts/content?name=a", 415), headers: { "Content-Encoding": "gzip" } },
  "a digest that is none": { ...put("/v0/artifacts/content?name=a"), headers: { "Content-Digest": "sha-256=:eA==:" } },
  "two digests": {
    ...put("/v0/artifacts/content?name=a"),
    headers: { "Content-Digest": "sha-256=:eA==:, sha-256=:eA==:" },
  },
  "an artifact that announces too much": raw(
    head("PUT /v0/artifacts/content?name=a HTTP/1.1", `Content-Length: ${limits.artifactBytes + 1}\r\n`),
    413,
  ),
  "an artifact with an Origin": { ...put("/v0/artifacts/content?name=a", 403), headers: { Origin: "null" } },
  "a file without a path": post("/v0/artifacts", {}),
  "a file with a relative path": post("/v0/artifacts", { path: "etc/passwd" }),
  "a file with a NUL in its path": post("/v0/artifacts", { path: "/etc/passwd\0.txt" }),
  "a file with a path that is too long": post("/v0/artifacts", { path: `/${"x".repeat(4096)}` }),
  "a file with another's digest": post("/v0/artifacts", { path: "/etc/hostname", sha256: "x" }),
  "a file for another owner": post("/v0/artifacts", { path: "/etc/hostname", owner: "user:0" }),
  "an artifact id that is none": get("/v0/artifacts/1"),
  "an artifact id that climbs out": get("/v0/artifacts/..%2f..%2fetc%2fpasswd/content"),
  "an unknown artifact": get(`/v0/artifacts/${createId("art")}`, 404),
  "the bytes of an unknown artifact": get(`/v0/artifacts/${createId("art")}/content`, 404),
  "an artifact list of a digest that is none": get("/v0/artifacts?sha256=abc"),
  "an artifact list of a type that is none": get("/v0/artifacts?type=*"),
  "a deletion of an unknown artifact": { method: "DELETE", path: `/v0/artifacts/${createId("art")}`, status: 404 },
  // Memory.
  "a note without a text": post("/v0/memory/entries", { kind: "note" }),
  "a note of two texts": note({ path: "/etc/hostname" }),
  "a path with another source": post("/v0/memory/entries", {
    kind: "note",
    path: "/etc/hostname",
    source: "file:///a",
  }),
  "a blank note": note({ text: " \n\t" }),
  "a note of half a character": text('{"kind":"note","text":"\\ud800"}'),
  "a NUL byte in a note": note({ text: "a\0b" }),
  "an escape character in a note": note({ text: "\u001b[31mred" }),
  "a note of an unknown kind": note({ kind: "thought" }),
  "a relative path": post("/v0/memory/entries", { kind: "document", path: "a.md" }),
  "a path that is no file": post("/v0/memory/entries", { kind: "document", path: "/dev/zero" }),
  "a path that climbs to a folder": post("/v0/memory/entries", { kind: "document", path: "/etc/../tmp/.." }),
  "an artifact that is none as a document": post("/v0/memory/entries", { kind: "document", artifact: "../x" }),
  "an artifact that is not there as a document": post("/v0/memory/entries", {
    kind: "document",
    artifact: createId("art"),
  }),
  "a source that is an artifact that is not there": note({ source: `artifact:${createId("art")}` }),
  "a source that is a file of nobody": note({ source: "file:///nowhere/at/all#L1" }),
  "a title of two lines": note({ title: "a\nb" }),
  "a trust that is none": note({ trust: "absolute" }),
  "an expiry that is none": note({ expires_at: "tomorrow" }),
  "a lineage of something": note({ derived_from: ["something"] }),
  "a lineage of nothing": { ...note({ derived_from: [unknownEntry] }), status: 404 },
  "the place of an unknown entry": { ...note({ supersedes: unknownEntry }), status: 404 },
  "a claimed owner of a note": note({ owner: "user:1" }),
  "a claimed time of a note": note({ created_at: "2020-01-01T00:00:00Z" }),
  "a search for nothing": get("/v0/memory/search"),
  "a search for too much": get(`/v0/memory/search?q=${"x".repeat(limits.memoryQueryBytes + 1)}`),
  "a search for too many": get("/v0/memory/search?q=a&k=51"),
  "a search after no time": get("/v0/memory/search?q=a&after=monday"),
  "a search by no label": get("/v0/memory/search?q=a&label=a"),
  // Approvals and grants.
  "an answer without a digest": answer({ option: "allow_once" }),
  "an answer that is none": answer({ ...anAnswer, option: "allow" }),
  "an answer with every option": answer({ ...anAnswer, option: ["allow_once", "reject_once"] }),
  "an answer in somebody's name": answer({ ...anAnswer, answered_by: "user:0" }),
  "an answer with a comment that is too long": answer({ ...anAnswer, comment: "x".repeat(1001) }),
  "an answer to an unknown approval": answer(anAnswer, 404),
  "an answer to what is no approval": post(`/v0/approvals/${unknownJob}/answer`, anAnswer),
  "an unknown approval": get(`/v0/approvals/${unknownApproval}`, 404),
  "an approval by a path": get("/v0/approvals/..%2Fjobs"),
  "approvals in no state": get("/v0/approvals?state=maybe"),
  "approvals waited for too long": get("/v0/approvals?wait=2m"),
  "approvals after nothing": get("/v0/approvals?after=-1"),
  "an unknown approval taken back": { method: "DELETE", path: `/v0/approvals/${unknownApproval}`, status: 404 },
  "an unknown grant taken back": { method: "DELETE", path: `/v0/grants/${createId("grt")}`, status: 404 },
  "an approval taken back as a grant": { method: "DELETE", path: `/v0/grants/${unknownApproval}`, status: 400 },
  "a secret that is short": secret({ secret: "1234567" }),
  "a secret that is a number": secret({ secret: 12_345_678 }),
  "no secret at all": secret({}),
  "a secret of no user": secret({ secret: "12345678", of: "agent:x" }),
  "somebody else's secret": secret({ secret: "12345678", of: "user:41001" }, 403),
  "an unknown entry": get(`/v0/memory/entries/${unknownEntry}`, 404),
  "an entry of another kind": get(`/v0/memory/entries/${unknownJob}`),
  "lines that are none": get(`/v0/memory/entries/${unknownEntry}?lines=0-5`),
  "lines that run backwards forever": get(`/v0/memory/entries/${unknownEntry}?lines=1-9999999999`),
  "an unknown entry to forget": { method: "DELETE", path: `/v0/memory/entries/${unknownEntry}`, status: 404 },
  "a list by a cursor that is none": get("/v0/memory/entries?cursor=1'%20OR%201"),
  // Events.
  "an event that is a list": post("/v0/events", [event]),
  "an event of another version": post("/v0/events", { ...event, specversion: "2.0" }),
  "an event without an id": post("/v0/events", { ...event, id: undefined }),
  "an event with a source that climbs out": post("/v0/events", { ...event, source: "../0" }),
  "an event with a source that climbs out, encoded": post("/v0/events", { ...event, source: "a/%2E%2e/%2e%2E" }),
  "an event of the system's types": post("/v0/events", { ...event, type: "dev.aether.job.ended.v1" }),
  "an event that says its place": post("/v0/events", { ...event, sequence: "000000000001" }),
  "an event with a name in capitals": post("/v0/events", { ...event, Urgent: true }),
  "an event with an extension that is an object": post("/v0/events", { ...event, more: {} }),
  "an event with __proto__": {
    path: "/v0/events",
    body: '{"specversion":"1.0","id":"1","type":"t","__proto__":{"a":1}}',
    status: 400,
  },
  "an event with control characters": post("/v0/events", { ...event, subject: "a\u001b[2J" }),
  "an event of data twice": post("/v0/events", { ...event, data: 1, data_base64: "AA==" }),
  "an event over its maximum": post("/v0/events", { ...event, data: "x".repeat(limits.eventBytes) }, 413),
  "an event over its maximum in characters": post(
    "/v0/events",
    { ...event, data: "ü".repeat(limits.eventBytes / 2) },
    413,
  ),
  "an event as a form": { path: "/v0/events", headers: { "Content-Type": "text/plain" }, body: event, status: 415 },
  "an unknown parameter of events": get("/v0/events?colour=red"),
  "after and tail of events": get("/v0/events?after=1&tail=1"),
  "a negative after of events": get("/v0/events?after=-1"),
  "a limit of no events": get("/v0/events?limit=0"),
  "a tail of too many events": get(`/v0/events?tail=${limits.eventsTailMax + 1}`),
  "a since of events that is none": get("/v0/events?since=yesterday"),
  "a format of events that is none": get("/v0/events?format=raw"),
  "an empty type of events": get("/v0/events?type="),
  "too many types of events": get(`/v0/events?${"type=a&".repeat(17)}limit=1`),
  "events of an intent that is none": get("/v0/events?intent_id=%27%20OR%201=1"),
  "events of a job that is none": get("/v0/events?job_id=*"),
  "a DELETE of events": { method: "DELETE", path: "/v0/events", status: 405 },
  "an unknown parameter of metrics": get("/v0/metrics?format=xml"),
  "a POST of metrics": { path: "/v0/metrics", body: {}, status: 405 },
  "an unknown route": get("/v0/tables", 404),
  "another version": get("/v1/jobs", 404),
  "a wrong method": { method: "DELETE", path: "/v0/jobs", status: 405 },
  "a PATCH": { method: "PATCH", path: `/v0/jobs/${unknownJob}`, status: 405 },

  // Headers and connections.
  "an Origin": { headers: { Origin: "http://localhost" }, body: valid, status: 403 },
  "a Host with a dot": { headers: { Host: "aether.example" }, body: valid, status: 403 },
  "a token that is none": { headers: { Authorization: "Bearer x" }, body: valid, status: 401 },
  "a token that is too long": { headers: { Authorization: `Bearer ${"x".repeat(5000)}` }, body: valid, status: 401 },
  "a password": { headers: { Authorization: "Basic cm9vdDpyb290" }, body: valid, status: 401 },
  "two tokens": raw(head("GET /v0/jobs HTTP/1.1", "Authorization: Bearer x\r\nAuthorization: Bearer y\r\n"), 401),
  "a token that nobody signed": {
    headers: { Authorization: "Bearer eyJhbGciOiJub25lIiwidHlwIjoiYWV0aGVyLWNhcCtqd3QifQ.e30." },
    body: valid,
    status: 401,
  },
  "a key with spaces": { headers: { "Idempotency-Key": "a b" }, body: valid, status: 400 },
  "a key that is too long": { headers: { "Idempotency-Key": "x".repeat(201) }, body: valid, status: 400 },
  "an intent header that is none": { headers: { "Aether-Intent-Id": "x" }, body: valid, status: 400 },
  "huge headers": raw(head("GET /v0/jobs HTTP/1.1", `X-Large: ${"x".repeat(limits.requestHeadersBytes)}\r\n`), 431),
  "a huge path": raw(head(`GET /v0/jobs/${"x".repeat(limits.requestHeadersBytes)} HTTP/1.1`), 431),
  "no HTTP at all": raw("hello\r\n\r\n", 400),
  "two lengths": raw(head("POST /v0/jobs HTTP/1.1", "Content-Length: 2\r\nContent-Length: 3\r\n"), 400),
};

/** Refused stops and kills of the job that stands by. */
const endings: Record<string, (id: string) => BadRequest> = {
  "a negative grace": (id) => post(`/v0/jobs/${id}/stop`, { grace: "-1s" }),
  "a grace that is a number": (id) => post(`/v0/jobs/${id}/stop`, { grace: 5 }),
  "another id in the body": (id) => post(`/v0/jobs/${id}/stop`, { id: unknownJob }),
  "an unknown field of kill": (id) => post(`/v0/jobs/${id}/kill`, { signal: "SIGHUP" }),
  "a stop by GET": (id) => get(`/v0/jobs/${id}/stop`, 405),
  "a kill with an Origin": (id) => ({ ...post(`/v0/jobs/${id}/kill`, {}, 403), headers: { Origin: "null" } }),
};

const missing = requireBackend("nats");

describe.skipIf(missing)(`bad requests${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let bystander: Awaited<ReturnType<Aether["client"]["jobs"]["submit"]>>;

  beforeAll(async () => {
    aether = await startAether({ worker: false });
    bystander = await aether.client.jobs.submit(valid);
  });

  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
  });

  async function assertRefused(bad: BadRequest): Promise<void> {
    const answer = bad.raw === undefined ? await send(aether.socket, bad) : await sendRaw(aether.socket, bad.raw);
    expect(answer.status).toBe(bad.status);
    expect(answer.type).toBe("application/problem+json");
    const problem = Problem.parse(JSON.parse(answer.body));
    expect(problem.status).toBe(bad.status);
    expect(problem.type).toMatch(/^urn:aether:problem:[a-z-]+$/);
    expect(problem.instance).toMatch(/^urn:aether:request:req_/);
  }

  it("has at least sixty of them", () => {
    expect(Object.keys(requests).length + Object.keys(endings).length).toBeGreaterThanOrEqual(60);
  });

  it.each(Object.entries(requests))("refuses %s", (_what, bad) => assertRefused(bad));

  it.each(Object.entries(endings))("refuses to end a job by %s", (_what, bad) => assertRefused(bad(bystander.id)));

  it("has changed nothing by all that", async () => {
    expect(await aether.client.jobs.get(bystander.id)).toEqual(bystander);
    expect((await aether.client.artifacts.list()).items).toEqual([]);
    const after = await aether.client.jobs.submit(valid);
    const list = await aether.client.jobs.list({ min_revision: after.revision });
    expect(list.items.map(({ id }) => id)).toEqual([after.id, bystander.id]);
  });
});

interface Answer {
  status: number;
  type: string | undefined;
  body: string;
}

async function send(socketPath: string, bad: BadRequest): Promise<Answer> {
  const { method = "POST", path = "/v0/jobs", headers, body } = bad;
  const isBytes = typeof body === "string" || Buffer.isBuffer(body);
  const response = await requestUnix({
    socketPath,
    method,
    path,
    headers: { ...(body !== undefined && { "Content-Type": "application/json" }), ...headers },
    ...(body !== undefined && { body: isBytes ? body : JSON.stringify(body) }),
  });
  return {
    status: response.status,
    type: response.headers["content-type"],
    body: await readText(response.body, 1_000_000),
  };
}

/** Sends bytes as they are; the answer ends with the connection. */
function sendRaw(socketPath: string, bytes: string | Buffer): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    let received = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      received += chunk;
    });
    socket.on("error", (error) => received === "" && reject(error));
    socket.on("close", () => {
      const [top = "", body = ""] = received.split("\r\n\r\n");
      resolve({ status: Number(top.split(" ")[1]), type: /content-type: (.*)/i.exec(top)?.[1], body });
    });
    socket.write(bytes);
  });
}
