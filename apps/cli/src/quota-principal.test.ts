import { describe, expect, it } from "vitest";
import { UsageError } from "./failure.ts";
import { toQuotaPrincipal } from "./quota-principal.ts";

const passwd = () => "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";

describe("whose quota is meant", () => {
  it.each([
    ["1000", "user:1000"],
    ["ada", "user:1000"],
    ["root", "user:0"],
    ["user:7", "user:7"],
    ["user:*", "user:*"],
    ["agent:aurora", "agent:aurora"],
    ["agent:*", "agent:*"],
  ])("%s is %s", (word, principal) => expect(toQuotaPrincipal(word, passwd)).toBe(principal));

  it.each(["ben", "ad", "", "user:ada", "group:1", "agent:", "agent:a/b", "99999999999"])("%j is nobody", (word) =>
    expect(() => toQuotaPrincipal(word, passwd)).toThrow(UsageError),
  );
});
