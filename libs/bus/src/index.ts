// The bus: the only importer of NATS. Operations are requested and served here; buckets and streams are opened here; the
// server's configuration and its streams derive from the topology here.
export { cutText, operationPreview } from "./act.ts";
export { type Bucket, type Entry, isWrongSequence, openBucket, RevisionConflict } from "./bucket.ts";
export { readAhead, sendInChunks } from "./chunks.ts";
export { type Bus, type BusOptions, connectBus } from "./connection.ts";
export { type Ledger, ledgerWriterKey, openLedger, removedHeader, Superseded } from "./ledger.ts";
export {
  appendMessage,
  eraseMessage,
  lastMessage,
  readMessages,
  type StoredMessage,
  waitForPublish,
} from "./messages.ts";
export { type ChunkPlace, type Objects, openObjects } from "./objects.ts";
export { provision } from "./provision.ts";
export { type RequestOptions, request } from "./request.ts";
export {
  type Call,
  countTraces,
  type Decide,
  type Handler,
  handler,
  type Loaded,
  type ServeOptions,
  serve,
} from "./serve.ts";
export { type ServerConfigOptions, seedFile, serverConfig } from "./server-config.ts";
export { startTail, streamState, type TailMessage, type TailOptions } from "./tail.ts";
export { objectSubject, type StreamSpec, streams, type UserSpec, users } from "./topology.ts";
