import { describe, expect, it } from "vitest";
import { chooseFormat } from "./negotiate.ts";

const prometheus =
  "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";

describe("chooseFormat", () => {
  it.each([
    [undefined, "json"],
    ["*/*", "json"],
    ["application/json, application/problem+json", "json"],
    ["text/plain", "prometheus"],
    ["text/plain; version=0.0.4; q=0.5, application/json; q=0.4", "prometheus"],
    ["application/openmetrics-text", "openmetrics"],
    [prometheus, "openmetrics"],
    ["text/plain;q=0", "json"],
    ["image/png", "json"],
    ["__proto__", "json"],
    ["text/plain;q=x", "json"],
  ])("takes %s for %s", (accept, format) => expect(chooseFormat(accept)).toBe(format));
});
