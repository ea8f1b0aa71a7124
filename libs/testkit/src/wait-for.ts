/** Waits until `probe` answers something other than null, undefined or false; tells the last seen value when time is up. */
export async function waitFor<T>(
  description: string,
  probe: () => T | Promise<T>,
  timeoutMs = 10_000,
): Promise<Exclude<T, null | undefined | false>> {
  const end = Date.now() + timeoutMs;
  for (let last: unknown; ; ) {
    try {
      const value = await probe();
      if (value !== null && value !== undefined && value !== false)
        return value as Exclude<T, null | undefined | false>;
      last = value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`waited ${timeoutMs} ms for ${description}; last seen: ${describe(last)}`);
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
}

function describe(value: unknown): string {
  return value instanceof Error ? value.message : JSON.stringify(value);
}
