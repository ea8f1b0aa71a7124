// What a capability token covers. Words are compared whole, never by prefix or pattern: there is nothing in them that could
// climb out.
import type { Action, Capability } from "@aether/contracts";

/** An act on something, as a token looks at it. */
export interface Act {
  action: Action;
  /** `*` for a collection, and for what is not a single thing. */
  id: string;
  owner: string | null;
}

/** Whether any of the capabilities allows the act. */
export function covers(capabilities: readonly Capability[], { action, id, owner }: Act): boolean {
  return capabilities.some(
    (capability) =>
      capability.actions.includes(action) &&
      (capability.id === undefined || capability.id === id) &&
      (capability.owner === undefined || capability.owner === owner),
  );
}

/** The first action that goes beyond `outer`, null where everything is within it. */
export function beyond(inner: readonly Capability[], outer: readonly Capability[]): Action | null {
  for (const { actions, id, owner } of inner) {
    const wide = actions.find((action) => !covers(outer, { action, id: id ?? anything, owner: owner ?? anything }));
    if (wide) return wide;
  }
  return null;
}

/** Equal to no id and no owner: what is not narrowed is covered only where the outer is not narrowed either. */
const anything = "\0";
