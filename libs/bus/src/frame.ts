// The body of a message: JSON, or, for operations that carry bytes, one line of JSON, a newline, and the bytes.

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const none = new Uint8Array(0);

/** Bytes as they come, or in parts that belong together. */
export type Bytes = Uint8Array | readonly Uint8Array[];

/** Encodes a value, with bytes behind it where there are any; parts of them are copied once, into the body. */
export function encodeBody(value: unknown, bytes?: Bytes): Uint8Array {
  const head = JSON.stringify(value);
  if (!bytes) return encoder.encode(head);
  return Buffer.concat([encoder.encode(`${head}\n`), ...(bytes instanceof Uint8Array ? [bytes] : bytes)]);
}

/** Decodes a body; throws SyntaxError where it is not what it should be. */
export function decodeBody(body: Uint8Array, withBytes: boolean): { value: unknown; bytes: Uint8Array } {
  if (!withBytes) return { value: body.length === 0 ? {} : JSON.parse(decoder.decode(body)), bytes: none };
  const end = body.indexOf(10);
  if (end < 0) throw new SyntaxError("a line of JSON is missing before the bytes");
  return { value: JSON.parse(decoder.decode(body.subarray(0, end))), bytes: body.subarray(end + 1) };
}
