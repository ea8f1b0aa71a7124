// Setting a secret: its value is the body, as it is.
import { formatQuery, Secret } from "@aether/contracts";
import { requestJson } from "./call.ts";
import type { Transport } from "./transport.ts";

export interface SetOptions {
  /** What policies may look at; those it had where absent. */
  labels?: Readonly<Record<string, string>> | undefined;
}

export function putSecret(
  transport: Transport,
  name: string,
  value: Uint8Array,
  options: SetOptions & { headers: Record<string, string>; signal?: AbortSignal },
): Promise<Secret> {
  const { labels, signal } = options;
  const label = labels && Object.entries(labels).map(([key, text]) => `${key}=${text}`);
  const headers = {
    ...options.headers,
    "Content-Type": "application/octet-stream",
    "Content-Length": String(value.length),
  };
  async function* body() {
    yield value;
  }
  const path = `/v0/secrets/${encodeURIComponent(name)}${formatQuery({ label })}`;
  return requestJson(transport, { method: "PUT", path, headers, body: body(), ...(signal && { signal }) }, Secret);
}
