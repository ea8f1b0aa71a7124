// Files of other people, opened with their rights and never with ours. The daemon accepts (`startOpener`), a child of it that
// has given up root for one user opens, and services ask (`createOpener`).
export { type Credentials, createOpener, type Opener, type Placing } from "./client.ts";
export { FileRefused } from "./files.ts";
export { type OpenerOptions, startOpener } from "./server.ts";
