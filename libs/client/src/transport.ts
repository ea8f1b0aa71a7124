// How a client reaches the API: one request, one streamed answer. Injected, so that the client itself runs anywhere.

export interface TransportRequest {
  method: string;
  /** With `/v0` and the query. */
  path: string;
  headers: Record<string, string>;
  /** Text, or bytes as they are asked for. */
  body?: string | AsyncIterable<Uint8Array>;
  signal?: AbortSignal;
}

export interface TransportResponse {
  readonly status: number;
  /** A header by its lower-case name. */
  header(name: string): string | undefined;
  /** Leaving it before its end gives the connection up. */
  readonly body: AsyncIterable<Uint8Array>;
}

export interface Transport {
  request(request: TransportRequest): Promise<TransportResponse>;
}
