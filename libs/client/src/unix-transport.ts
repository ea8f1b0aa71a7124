import { Agent } from "node:http";
import { requestUnix } from "@aether/http";
import type { Transport } from "./transport.ts";

/**
 * Reaches the gateway over its unix socket, keeping connections between requests until disposed. With a capability token every
 * request is narrowed to what that allows.
 */
export function createUnixTransport(socketPath: string, options: { token?: string } = {}): Transport & Disposable {
  const authorization = options.token === undefined ? {} : { Authorization: `Bearer ${options.token}` };
  const agent = new Agent({ keepAlive: true });
  return {
    async request(request) {
      const response = await requestUnix({
        socketPath,
        agent,
        ...request,
        headers: { ...request.headers, ...authorization },
      });
      return {
        status: response.status,
        header(name) {
          const value = response.headers[name];
          return Array.isArray(value) ? value.join(", ") : value;
        },
        body: response.body,
      };
    },
    [Symbol.dispose]: () => agent.destroy(),
  };
}
