// Sandboxes for untrusted commands: one interface (driver.ts), its bubblewrap implementation, and what a worker and its
// warden need to end everything of an incarnation. `@aether/sandbox/kill` is the part that loads no native code.

export { startBubblewrapDriver } from "./bubblewrap.ts";
export { groupPath } from "./cgroups.ts";
export {
  type Driver,
  type Enforced,
  type Exit,
  NoRoom,
  type Problem,
  type Resident,
  type Room,
  type Sandbox,
  type SandboxSpec,
  SandboxUnavailable,
  type SecretFile,
  type Usage,
} from "./driver.ts";
export type { BubblewrapOptions } from "./host.ts";
export { type ReapOptions, reapIncarnations } from "./reap.ts";
