// Numbers and times as people read them.

/** `31 ms`, `1.2 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`. */
export function formatMs(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return pair(seconds, 60, "min", "s");
  if (seconds < 86_400) return pair(Math.round(seconds / 60), 60, "h", "min");
  return pair(Math.round(seconds / 3600), 24, "d", "h");
}

function pair(total: number, per: number, big: string, small: string): string {
  const rest = total % per;
  return `${Math.floor(total / per)} ${big}${rest ? ` ${rest} ${small}` : ""}`;
}

/** `9.0 MiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return unit === "B" ? `${value} B` : `${value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}

/** `4 s ago`, `3 min ago`, in the largest unit; a dash where there is no time yet. */
export function formatAgo(time: string | null, nowMs: number): string {
  if (time === null) return "-";
  const seconds = Math.round((nowMs - Date.parse(time)) / 1000);
  if (seconds < 1) return "just now";
  const [size, unit] = ago.find(([limit]) => seconds >= limit) ?? [1, "s"];
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

const ago = [
  [86_400, "d"],
  [3600, "h"],
  [60, "min"],
] as const;
