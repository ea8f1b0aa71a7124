/** What the doctor found of one thing: `fail` keeps Aether from working, `warn` from working whole. */
export interface Check {
  name: string;
  status: "ok" | "warn" | "fail";
  detail: string;
  /** What to do about it; null where nothing is to be done. */
  mend: string | null;
}

export const ok = (name: string, detail: string): Check => ({ name, status: "ok", detail, mend: null });
export const warn = (name: string, detail: string, mend: string): Check => ({ name, status: "warn", detail, mend });
export const fail = (name: string, detail: string, mend: string): Check => ({ name, status: "fail", detail, mend });
