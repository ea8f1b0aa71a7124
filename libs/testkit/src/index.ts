// What tests start and wait for: a real nats-server with Aether's accounts, temporary folders, a state to come. Everything
// that is started is disposable, and nothing here sleeps.

export { captureLog, silentLog } from "./log.ts";
export { startNats, type TestNats } from "./nats.ts";
export { type BackendName, requireBackend } from "./require.ts";
export { tempDir } from "./temp-dir.ts";
export { waitFor } from "./wait-for.ts";
