// How full the AUDIT stream is, counting what is not yet in a sealed segment: the stream drops its oldest when it is full, so
// as long as the unsealed part fits into it, only what is sealed can be dropped. The last share is for what ends things.

const normalShare = 0.95;

export interface Space {
  readonly maxBytes: number;
  /** Stored and not sealed. */
  unsealedBytes: number;
  /** Asked for and not yet stored. */
  waitingBytes: number;
  /** The largest append whose outcome is not known. */
  doubtfulBytes: number;
}

export function createSpace(maxBytes: number, unsealedBytes: number): Space {
  return { maxBytes, unsealedBytes, waitingBytes: 0, doubtfulBytes: 0 };
}

/** Whether so many bytes more would fit; `reserve`: into the last share as well. */
export function hasRoom(space: Space, bytes: number, reserve: boolean): boolean {
  const used = space.unsealedBytes + space.waitingBytes + space.doubtfulBytes;
  return used + bytes <= space.maxBytes * (reserve ? 1 : normalShare);
}
