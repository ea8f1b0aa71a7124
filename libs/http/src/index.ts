// HTTP over a unix socket, both ends: who owns the socket, who is on the other side, what is refused before anybody looks
// at it, problem documents, and streams with back-pressure. Knows no route.
export { ConnectError, requestUnix, type UnixRequest, type UnixResponse } from "./client.ts";
export { bindUnix, type ListenUnixOptions, listenUnix, SocketOwnedError, type UnixListener } from "./listen-unix.ts";
export { parseNdjson, readText } from "./ndjson.ts";
export { type PeerCredentials, peerCredentials } from "./peer-credentials.ts";
export { type ReadBodyOptions, readBytesBody, readJsonBody } from "./read-body.ts";
export { createProblemServer, type Exchange, type ProblemServerOptions } from "./server.ts";
export { openStream, type ResponseStream } from "./stream.ts";
export { writeJson, writeProblem, writeText } from "./write.ts";
