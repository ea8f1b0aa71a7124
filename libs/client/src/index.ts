// The typed client: everything the HTTP API can do, with answers held against the contracts.
export { type CallOptions, type Client, createClient } from "./client.ts";
export type { EventOptions } from "./events.ts";
export type { LogOptions } from "./logs.ts";
export type { Transport, TransportRequest, TransportResponse } from "./transport.ts";
export { createUnixTransport } from "./unix-transport.ts";
